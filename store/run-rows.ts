import { type ExecutionPolicy, executionPolicySchema } from '../contract/execution-policy.js';
import { idPrefixes } from '../contract/ids.js';
import type { CreateRun, Launcher, SendRun } from '../contract/runs.js';
import type { CommandType } from '../contract/states.js';
import { type AttemptSettings, type PreparedAttempt, prepareAttempt } from './attempts.js';
import { unknownSession } from './idle-session.js';
import { newId } from './new-id.js';
import type { Transaction } from './pool.js';

/**
 * Adds a run to a session; its policy is run over session over default.
 *
 * @throws AgentRunError `not-found` when the session was deleted in between.
 */
export async function insertRun(
  tx: Transaction,
  sessionId: string,
  body: SendRun | CreateRun,
  options: { launcher: Launcher; traceparent: string | null; deadlineAt?: string },
): Promise<string> {
  const runId = newId(idPrefixes.run);
  const session = await tx.query<{ execution_policy: Partial<ExecutionPolicy> }>(
    // Held: a deletion either sees this run, or has begun before.
    'select execution_policy from sessions where session_id = $1 and deleted_at is null for share',
    [sessionId],
  );
  if (session.rows.length === 0) throw unknownSession(sessionId);
  const said = Object.entries(body.executionPolicy ?? {}).filter(([, value]) => value !== undefined);
  const policy = executionPolicySchema.parse({
    ...session.rows[0]?.execution_policy,
    ...Object.fromEntries(said),
  });
  await tx.query(
    `insert into runs (run_id, tenant_id, project_id, session_id, conversation_id, session_metadata, backend_profile, provider_id,
       launcher, execution_policy, workspace, labels, metadata, thread_id, traceparent, deadline_at)
     select $1, s.tenant_id, s.project_id, s.session_id, s.conversation_id, coalesce($2::jsonb, s.metadata), s.backend_profile,
       $3, $4, $5, coalesce($6::jsonb, s.workspace), coalesce($7::jsonb, s.labels), coalesce($8::jsonb, '{}'), s.thread_id, $9, $11::timestamptz
     from sessions s where s.session_id = $10`,
    [
      runId,
      jsonOrNull(body.sessionRef?.metadata),
      body.providerId ?? null,
      options.launcher,
      JSON.stringify(policy),
      jsonOrNull(body.workspace),
      jsonOrNull(body.labels),
      jsonOrNull(body.metadata),
      options.traceparent,
      sessionId,
      options.deadlineAt ?? null,
    ],
  );
  await insertRunLog(tx, runId);
  return runId;
}

/** The rows of a run that every batch of its events writes: made with the run, so that no batch has to lock the run for their sake. */
export async function insertRunLog(tx: Transaction, runId: string): Promise<void> {
  await tx.query(
    'with log as (insert into run_log (run_id) values ($1)) insert into run_projections (run_id) values ($1)',
    [runId],
  );
}

const jsonOrNull = (value: unknown) => (value === undefined ? null : JSON.stringify(value));

/** Appends a command to a run, whose row is locked by the statement itself. The first turn command is the run's prompt. */
export async function addCommand(
  tx: Transaction,
  command: {
    commandId: string;
    runId: string;
    type: CommandType;
    payload: unknown;
    idempotencyKey: string | null;
  },
): Promise<void> {
  await tx.query(
    `with target as (
       update runs set last_command_seq = last_command_seq + 1,
         prompt_command_id = case when $3 = 'turn' then coalesce(prompt_command_id, $2) else prompt_command_id end
       where run_id = $1 returning run_id, session_id, last_command_seq)
     insert into commands (command_id, run_id, session_id, seq, type, steer_delivery, payload, idempotency_key)
     select $2, run_id, session_id, last_command_seq, $3, case when $3 = 'steer' then 'pending' end, $4, $5 from target`,
    [command.runId, command.commandId, command.type, JSON.stringify(command.payload), command.idempotencyKey],
  );
}

/** Makes a run the session's active turn and prepares its first attempt. The session's row is locked by the caller. */
export async function activateTurn(
  tx: Transaction,
  settings: AttemptSettings,
  runId: string,
): Promise<PreparedAttempt> {
  await tx.query(
    `with turn as (
       update sessions s set turns = s.turns + 1, active_run_id = r.run_id, active_command_id = r.prompt_command_id,
         last_run_id = r.run_id, last_command_id = r.prompt_command_id, last_activity_at = now(), updated_at = now()
       from runs r where r.run_id = $1 and s.session_id = r.session_id returning s.turns, s.thread_id)
     update runs set session_turn = turn.turns, thread_id = turn.thread_id, updated_at = now() from turn where run_id = $1`,
    [runId],
  );
  return prepareAttempt(tx, settings, runId, 1);
}
