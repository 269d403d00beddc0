import { z } from 'zod';
import type { Queryable } from './pool.js';

/**
 * Whether the runner `n` must be left alone: its lease is live, it was heard of within `$2` ms, or an attempt of it is the current one of a run that has not
 * ended, so that its turn decides about it. One that is proven gone is none of these.
 */
const isActiveSql = `(n.state <> 'gone' and (
  exists (select 1 from leases l where l.job_name = n.job_name
    and (l.expires_at > now() or l.heartbeat_at > now() - $2 * interval '1 millisecond'))
  or exists (select 1 from attempts a join runs r on r.run_id = a.run_id and r.current_epoch = a.epoch
    where a.job_name = n.job_name and r.terminal_status is null)))`;

const activitySchema = z.object({ jobName: z.string(), isActive: z.boolean(), lastActiveAtMs: z.number() });
export type RunnerActivity = z.infer<typeof activitySchema>;

/** What the records say about these runners; those that they do not know are left out. */
export async function runnerActivity(
  db: Queryable,
  jobNames: readonly string[],
  activeHeartbeatMaxAgeMs: number,
): Promise<RunnerActivity[]> {
  const found = await db.query(
    `select n.job_name as "jobName", ${isActiveSql} as "isActive",
       (extract(epoch from greatest(n.created_at, l.heartbeat_at)) * 1000)::float8 as "lastActiveAtMs"
     from runners n left join leases l on l.job_name = n.job_name where n.job_name = any($1)`,
    [jobNames, activeHeartbeatMaxAgeMs],
  );
  return z.array(activitySchema).parse(found.rows);
}

/**
 * Decides that a runner goes, unless it has become active since it was looked at: from here on it is handed no turn, and if it should be alive after all, it
 * is told to close. False: it is left alone.
 */
export async function closeInactiveRunner(
  db: Queryable,
  jobName: string,
  activeHeartbeatMaxAgeMs: number,
): Promise<boolean> {
  const closed = await db.query(
    `update runners n set state = case when state = 'gone' then state else 'closing' end, updated_at = now()
      where n.job_name = $1 and not ${isActiveSql}`,
    [jobName, activeHeartbeatMaxAgeMs],
  );
  return closed.rowCount === 1;
}
