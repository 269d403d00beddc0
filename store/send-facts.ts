import { z } from 'zod';
import { isTerminalState, runStatusSchema } from '../contract/states.js';
import type { SendFacts } from '../domain/send-plan.js';
import type { Queryable } from './pool.js';

const sessionRowSchema = z.object({
  tenant_id: z.string(),
  project_id: z.string(),
  backend_profile: z.string(),
  standing: z.enum(['present', 'archived', 'evicted', 'deleted']),
  active_run_id: z.string().nullable(),
});
const activeRowSchema = z.object({
  run_id: z.string(),
  status: runStatusSchema,
  is_open: z.boolean(),
  cancel_requested: z.boolean(),
});

/** What {@link loadSendFacts} found: the facts and whom the session belongs to. */
export interface SendSituation {
  readonly facts: SendFacts;
  readonly owner: {
    readonly tenantId: string;
    readonly projectId: string;
    readonly backendProfile: string;
  } | null;
}

/**
 * The facts about a session that steer-or-turn is decided by. With `lock`, the session's and the active run's row are
 * locked in this order until the transaction ends, which makes the decision binding; without, it is advice (dry run).
 */
export async function loadSendFacts(db: Queryable, sessionId: string, lock: boolean): Promise<SendSituation> {
  const forUpdate = lock ? 'for no key update' : '';
  const sessions = await db.query(
    `select tenant_id, project_id, backend_profile, active_run_id, case when deleted_at is not null then 'deleted'
         when storage_kind = 'evicted' then 'evicted' when archived_at is not null then 'archived' else 'present' end as standing
       from sessions where session_id = $1 ${forUpdate}`,
    [sessionId],
  );
  if (sessions.rows.length === 0) {
    return { facts: { session: 'unknown', activeRun: null, queuedTurns: 0 }, owner: null };
  }
  const session = sessionRowSchema.parse(sessions.rows[0]);
  const run =
    session.active_run_id === null ? null : await loadActiveRun(db, session.active_run_id, forUpdate);
  const queued = await db.query<{ queued: number }>(
    `select (select count(*) from runs where session_id = $1 and terminal_status is null and session_turn is null
               and prompt_command_id is not null)::int
          + (select count(*) from commands where session_id = $1 and steer_delivery = 'next-turn'
               and next_command_id is null)::int as queued`,
    [sessionId],
  );
  return {
    facts: {
      session: session.standing,
      // A dangling pointer is no active turn (contract.md oddity 11).
      activeRun:
        run === null
          ? null
          : {
              runId: run.run_id,
              isOpen: run.is_open,
              isTerminal: isTerminalState(run.status),
              cancelRequested: run.cancel_requested,
            },
      queuedTurns: queued.rows[0]?.queued ?? 0,
    },
    owner: {
      tenantId: session.tenant_id,
      projectId: session.project_id,
      backendProfile: session.backend_profile,
    },
  };
}

async function loadActiveRun(db: Queryable, runId: string, forUpdate: string) {
  const found = await db.query(
    `select run_id, status, is_open, cancel_requested_at is not null as cancel_requested
       from runs where run_id = $1 ${forUpdate}`,
    [runId],
  );
  return found.rows.length === 0 ? null : activeRowSchema.parse(found.rows[0]);
}
