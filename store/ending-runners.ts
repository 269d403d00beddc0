import type { Launcher } from '../contract/runs.js';
import type { Queryable } from './pool.js';

/** An idle runner renews its lease every few seconds: after this it is not slow, it is dead. */
const deadLeaseMs = 300_000;

/**
 * Names of runners of this launcher, in their order after `afterJobName`, that were told to close or stopped reporting while they were idle: no turn
 * waits for their end, so nobody else looks whether they are gone. At most `limit`.
 */
export async function endingRunners(
  db: Queryable,
  launcher: Launcher,
  afterJobName: string,
  limit: number,
): Promise<string[]> {
  const found = await db.query<{ job_name: string }>(
    `select n.job_name from runners n left join leases l using (job_name)
      where n.launcher = $1 and n.job_name > $2 and (n.state = 'closing'
        or (n.state = 'idle' and coalesce(l.expires_at, n.updated_at) < now() - $3 * interval '1 millisecond'))
      order by n.job_name limit $4`,
    [launcher, afterJobName, deadLeaseMs, limit],
  );
  return found.rows.map((row) => row.job_name);
}
