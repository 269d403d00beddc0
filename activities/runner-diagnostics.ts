import type { Launcher } from '../infra/launchers/launcher.js';
import { noteDiagnostics } from '../store/pod-notes.js';
import type { Pool } from '../store/pool.js';

/** For the cluster's answers; a node that does not answer gives no logs. */
const longestMs = 15_000;

/**
 * Stores what can be seen of a runner before it is deleted (architecture.md 4.2, Clean-up). What cannot be had in time is not waited for: it must not keep
 * a runner alive that is to go.
 *
 * @throws Error when Postgres does not take it.
 */
export async function keepDiagnostics(
  pool: Pool,
  launcher: Pick<Launcher, 'diagnostics'>,
  jobName: string,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), longestMs);
  });
  const seen = await Promise.race([launcher.diagnostics(jobName).catch(() => undefined), late]);
  clearTimeout(timer);
  if (seen !== undefined) await noteDiagnostics(pool, jobName, seen);
}
