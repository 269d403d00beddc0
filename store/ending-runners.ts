import type { Launcher } from '../contract/runs.js';
import type { Queryable } from './pool.js';

/** An idle runner renews its lease every few seconds: after this it is not slow, it is dead. */
const deadLeaseMs = 300_000;

/** A runner that nobody waits for. `isLeft`: the turn that it was launched for is over, and it was not ended then. */
export interface EndingRunner {
  readonly jobName: string;
  readonly isLeft: boolean;
}

/**
 * Runners of this launcher, by their names after `afterJobName`, that were told to close, stopped reporting while they were idle, or were not ended with their
 * turn (its cluster was away): no turn waits for their end, so nobody else looks whether they are gone. At most `limit`.
 */
export async function endingRunners(
  db: Queryable,
  launcher: Launcher,
  afterJobName: string,
  limit: number,
): Promise<EndingRunner[]> {
  const found = await db.query<EndingRunner>(
    `select n.job_name as "jobName", n.state in ('launching', 'serving') as "isLeft" from runners n left join leases l using (job_name)
      where n.launcher = $1 and n.job_name > $2 and (n.state = 'closing'
        or (n.state in ('idle', 'launching', 'serving') and coalesce(l.expires_at, n.updated_at) < now() - $3 * interval '1 millisecond'
          and (n.state = 'idle' or exists (
            select 1 from runner_jobs j join runs r using (run_id) where j.job_name = n.job_name group by j.job_name
             having bool_and(r.terminal_status is not null)))))
      order by n.job_name limit $4`,
    [launcher, afterJobName, deadLeaseMs, limit],
  );
  return found.rows;
}
