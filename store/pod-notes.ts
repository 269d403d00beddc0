import type { JsonObject } from '../contract/json.js';
import type { PodWait } from '../domain/supervision.js';
import type { Queryable } from './pool.js';
import type { AttemptKey } from './supervision-facts.js';

/** How the pod of an attempt stands, as the records tell it. Times are epoch milliseconds of the cluster's clock. */
export interface PodNote {
  /** What it waits for; null: its containers run. */
  readonly wait: PodWait | null;
  /** The cluster's own words. */
  readonly message: string | null;
  readonly sinceMs: number | null;
  readonly nodeName: string | null;
}

/** Of the cluster's words. */
const longestMessage = 1_000;

/**
 * Notes how the pod of the current attempt stands. As long as it waits, and once more when its containers begin, the time to claim counts from now
 * (decisions.md, Auth): a runner that was long in coming finds its deadline ahead.
 */
export async function notePod(db: Queryable, { runId, epoch }: AttemptKey, note: PodNote): Promise<void> {
  await db.query(
    // The run's row first, as a claim that comes at the same moment takes it.
    `with locked as (
       select run_id, execution_policy from runs where run_id = $1 and current_epoch = $2 and terminal_status is null for no key update),
     former as (
       select j.run_id, j.pod_wait is not null or j.node_name is null as has_waited from runner_jobs j join locked using (run_id) where j.epoch = $2),
     job as (
       update runner_jobs j set pod_wait = $3::text, pod_message = $4, pod_since = to_timestamp($5::float8 / 1000), node_name = $6, updated_at = now(),
         phase = case when j.phase not in ('creating', 'pending', 'starting') then j.phase
                      when $3::text is null or $3::text = 'start' then 'starting' else 'pending' end
        from locked l where j.run_id = l.run_id and j.epoch = $2)
     update attempts a
        set claim_deadline_at = clock_timestamp() + (l.execution_policy ->> 'claimTimeoutMs')::int * interval '1 millisecond'
       from locked l, former f
      where a.run_id = l.run_id and a.epoch = $2 and a.claimed_by is null and f.run_id = l.run_id and ($3::text is not null or f.has_waited)`,
    [runId, epoch, note.wait, note.message?.slice(0, longestMessage) ?? null, note.sinceMs, note.nodeName],
  );
}

/** Why a runner that is to go is still there; shown until it is gone. */
export async function noteStuck(db: Queryable, jobName: string, message: string): Promise<void> {
  await db.query(
    `update runner_jobs set pod_message = $2, updated_at = now()
      where job_id = (select job_id from runner_jobs where job_name = $1 order by created_at desc limit 1)
        and pod_message is distinct from $2`,
    [jobName, message.slice(0, longestMessage)],
  );
}

/** Keeps what could be seen of a runner before its Job is deleted, with the last attempt that it served. A later look replaces it, but for one that saw the pod no more. */
export async function noteDiagnostics(
  db: Queryable,
  jobName: string,
  diagnostics: JsonObject,
): Promise<void> {
  await db.query(
    `update runner_jobs set diagnostics = $2, updated_at = now()
      where job_id = (select job_id from runner_jobs where job_name = $1 order by created_at desc limit 1)
        and (coalesce($2::jsonb -> 'pod', 'null') <> 'null' or coalesce(diagnostics -> 'pod', 'null') = 'null')`,
    [jobName, JSON.stringify(diagnostics)],
  );
}
