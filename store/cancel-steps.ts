import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { type CancelStep, cancelStepSchema } from '../contract/runs.js';
import { type RunStatus, runStatusSchema } from '../contract/states.js';
import type { Queryable } from './pool.js';

/** A cancel is near the end of the log: this many events back is looked at, by the primary key. */
const lastEvents = 500;

const foundSchema = z.object({ status: runStatusSchema, phases: z.array(cancelStepSchema) });

/**
 * The steps of a cancel that a run's log shows, each once, in the order of their first event, and the run's status. Reads the end of the log only.
 *
 * @throws AgentRunError `not-found`.
 */
export async function readCancelSteps(
  db: Queryable,
  runId: string,
): Promise<{ readonly observed: CancelStep[]; readonly status: RunStatus }> {
  const found = await db.query(
    `select r.status, coalesce((
       select json_agg(e.payload ->> 'phase' order by e.seq) from events e
        where e.run_id = $1 and e.seq > g.last_seq - $2 and e.type = 'backend_status' and e.payload ->> 'phase' = any($3)), '[]') as phases
     from runs r join run_log g using (run_id) where r.run_id = $1`,
    [runId, lastEvents, cancelStepSchema.options],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const { status, phases } = foundSchema.parse(found.rows[0]);
  // What precedes the request belongs to something else, for example to a turn that was parked.
  const from = Math.max(0, phases.indexOf('cancel-requested'));
  return { observed: [...new Set(phases.slice(from))], status };
}
