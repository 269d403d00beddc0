import { z } from 'zod';
import type { Queryable } from './pool.js';
import { fenced, type RunnerIdentity } from './runner-identity.js';

/** What a supervisor measured of its session's volume, which nobody else sees. */
export const toldStorageSchema = z.object({
  /** Sum over regular files. */
  sizeBytes: z.int().min(0),
  filesCount: z.int().min(0).max(2_000_000_000),
  /** Null: the look was cut off. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
});
export type ToldStorage = z.infer<typeof toldStorageSchema>;

/**
 * Records what the current runner of a session with a volume says about it; the volume is `Bound`, for a runner has it. It measures after the turn, whose run
 * may have ended by then: what counts is that its attempt was the run's last and that the session has no newer runner. False: the session has no volume.
 *
 * @throws AgentRunError `fenced`.
 */
export async function noteStorageTold(
  db: Queryable,
  runner: RunnerIdentity,
  sessionId: string,
  told: ToldStorage,
): Promise<boolean> {
  const noted = await db.query<{ counts: boolean }>(
    `with current as (
       select s.session_id, s.storage_kind = 'pvc' and s.storage_backend = 'pvc' and s.deleted_at is null as takes
         from runs r join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch join runners n on n.job_name = a.job_name
         join sessions s on s.session_id = r.session_id
        where r.run_id = $1 and r.current_epoch = $2 and a.claimed_by = $3 and n.job_name = $4 and n.runner_id = $3 and n.state <> 'gone'
          and r.session_id = $5 and not exists (select 1 from runners o where o.session_id = n.session_id and o.created_at > n.created_at)),
     noted as (
       update sessions s set storage_size_bytes = $6, storage_files_count = $7, storage_sha256 = $8, storage_updated_at = now(),
         storage_pvc_phase = 'Bound', updated_at = now()
         from current c where c.session_id = s.session_id and c.takes)
     select takes as counts from current`,
    [
      runner.runId,
      runner.epoch,
      runner.runnerId,
      runner.jobName,
      sessionId,
      told.sizeBytes,
      told.filesCount,
      told.sha256,
    ],
  );
  const row = noted.rows[0];
  if (row === undefined)
    throw fenced(`runner ${runner.runnerId} is not the last one of session ${sessionId}`);
  return row.counts;
}
