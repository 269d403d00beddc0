import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { Transaction } from './pool.js';
import { sessionExpiry } from './session-expiry.js';

/** Whether a turn of the session `s` is active or queued, or a message that came too late for its turn is to become one. */
export const sessionBusySql = `(
  exists (select 1 from runs b where b.session_id = s.session_id and b.terminal_status is null
    and (b.session_turn is not null or b.prompt_command_id is not null))
  or exists (select 1 from commands c where c.session_id = s.session_id and c.steer_delivery = 'next-turn' and c.next_command_id is null))`;

/**
 * A session id is free again after a deletion: this says which of the sessions that had it is meant, so that a step that stood still does nothing to the
 * next one. `generation` is the time of the session's creation in microseconds: letters and digits alone.
 */
export interface SessionGeneration {
  readonly sessionId: string;
  readonly generation: string;
}

/** The generation of the session row `alias`. */
export const generationOf = (alias: string) =>
  `(extract(epoch from ${alias}.created_at) * 1000000)::bigint::text`;

const lockedSessionSchema = z.object({
  tenantId: z.string(),
  generation: z.string(),
  isEvicted: z.boolean(),
  isArchived: z.boolean(),
  isDeleted: z.boolean(),
  hasExpired: z.boolean(),
  isBusy: z.boolean(),
  hasTask: z.boolean(),
});
export type LockedSession = z.infer<typeof lockedSessionSchema>;

/**
 * Locks a session's row and says how it stands. Until the transaction ends no message is decided and no turn begins, since both take this lock
 * first.
 *
 * @throws AgentRunError `not-found`, also for a session of another tenant; one that is being deleted is found.
 */
export async function lockSession(
  tx: Transaction,
  sessionId: string,
  tenantId?: string,
): Promise<LockedSession> {
  // The lock in a statement of its own: what is read afterwards is what was committed before it was given.
  await tx.query('select 1 from sessions where session_id = $1 for no key update', [sessionId]);
  const found = await tx.query(
    `select s.tenant_id as "tenantId", ${generationOf('s')} as generation, s.storage_kind = 'evicted' as "isEvicted", s.archived_at is not null as "isArchived",
       s.deleted_at is not null as "isDeleted", ${sessionExpiry('s')} <= now() as "hasExpired", ${sessionBusySql} as "isBusy",
       exists (select 1 from queue_tasks t where t.session_id = s.session_id and t.state in ('dispatched', 'running')) as "hasTask"
     from sessions s where s.session_id = $1 and ($2::text is null or s.tenant_id = $2)`,
    [sessionId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw unknownSession(sessionId);
  return lockedSessionSchema.parse(found.rows[0]);
}

export const unknownSession = (sessionId: string) =>
  new AgentRunError('not-found', `session ${sessionId} does not exist`);

export const busySession = (sessionId: string) =>
  new AgentRunError(
    'session-busy',
    `session ${sessionId}: a turn is active or queued; cancel it or wait for its end`,
  );

/** Tells the session's idle runner to go; answers its job. The session's row is locked by the caller. */
export async function closeIdleRunners(tx: Transaction, sessionId: string): Promise<string[]> {
  const closed = await tx.query<{ job_name: string }>(
    `update runners set state = 'closing', updated_at = now() where session_id = $1 and state = 'idle' returning job_name`,
    [sessionId],
  );
  return closed.rows.map((row) => row.job_name);
}
