import { z } from 'zod';
import { commandPayloadSchema } from '../contract/commands.js';
import { createRunSchema, type Launcher, type SendRun, sendRunSchema } from '../contract/runs.js';
import { whenBusySchema } from '../contract/sessions.js';
import { decideSend, type SendDecision } from '../domain/send-plan.js';
import type { AttemptSettings, PreparedAttempt } from './attempts.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { activateTurn, addCommand, insertRun } from './run-rows.js';
import { loadSendFacts, type SendSituation } from './send-facts.js';

/** What the API stored about a message: the part of the send body that the decision and the turn need. */
export const messageBodySchema = z.object({
  payload: commandPayloadSchema,
  whenBusy: whenBusySchema.default('steer'),
  run: sendRunSchema.optional(),
  /** False: the turn waits for a runner that somebody else starts (architecture.md 4.4). */
  createRunnerJob: z.boolean().default(true),
});
export type MessageBody = z.infer<typeof messageBodySchema>;

const messageRowSchema = z.object({
  command_id: z.string(),
  tenant_id: z.string(),
  session_id: z.string(),
  idempotency_key: z.string(),
  body: messageBodySchema,
  run_id: z.string().nullable(),
  traceparent: z.string().nullable(),
  decision: z.custom<SendDecision>((value) => typeof value === 'object' && value !== null).nullable(),
});
type Message = z.infer<typeof messageRowSchema>;

/**
 * Decides about one stored message and has the effect, in one transaction: a steer command of the open run, or a run with its prompt, its
 * first attempt and, where the session's idle runner fits, the hand-over. Decided once: a repeat answers the stored decision.
 * Locks in the order session, run, log, as every writer of more than one of them does.
 */
export async function acceptMessage(
  pool: Pool,
  settings: AttemptSettings,
  commandId: string,
): Promise<AcceptedMessage> {
  return withTransaction(pool, async (tx) => {
    const found = await tx.query('select * from session_messages where command_id = $1 for update', [
      commandId,
    ]);
    if (found.rows.length === 0) return refuse('not-found', 'this message was never stored');
    const parsed = messageRowSchema.safeParse(found.rows[0]);
    // A stored body that this version cannot read is refused: waiting would not change it, and the session's other messages wait behind it.
    const message = parsed.success ? parsed.data : undefined;
    if (message === undefined)
      return store(tx, commandId, refuse('infra-failed', 'the stored message cannot be read'));
    if (message.decision !== null) return { decision: message.decision, touchedRunIds: [], attempt: null };
    return store(tx, commandId, await decide(tx, settings, message));
  });
}

async function store(
  tx: Transaction,
  commandId: string,
  accepted: AcceptedMessage,
): Promise<AcceptedMessage> {
  await tx.query('update session_messages set decision = $2, decided_at = now() where command_id = $1', [
    commandId,
    JSON.stringify(accepted.decision),
  ]);
  return accepted;
}

/** The decision, and whom to wake after the commit: runs that changed, and the runner of an attempt that was prepared. */
export interface AcceptedMessage {
  readonly decision: SendDecision;
  readonly touchedRunIds: readonly string[];
  readonly attempt: PreparedAttempt | null;
}

async function decide(
  tx: Transaction,
  settings: AttemptSettings,
  message: Message,
): Promise<AcceptedMessage> {
  const situation = await loadSendFacts(tx, message.session_id, true);
  const problem = ownershipProblem(message, situation);
  if (problem !== undefined) return problem;
  const verdict = decideSend(situation.facts, message.body.whenBusy);
  switch (verdict.kind) {
    case 'refuse':
      return refuse(verdict.failureKind, verdict.message);
    case 'steer': {
      await insertCommand(tx, message, verdict.runId, 'steer');
      return {
        decision: { decision: 'steer', runId: verdict.runId, commandId: message.command_id },
        touchedRunIds: [verdict.runId],
        attempt: null,
      };
    }
    case 'turn': {
      const runId =
        (await unbegunRun(tx, message.run_id)) ??
        (await createRunForMessage(tx, settings, message, situation));
      if (verdict.interrupt && situation.facts.activeRun !== null) {
        await tx.query(
          `update runs set cancel_requested_at = now(), cancel_reason = 'interrupted by a newer message',
             is_open = false, updated_at = now() where run_id = $1 and cancel_requested_at is null`,
          [situation.facts.activeRun.runId],
        );
      }
      await insertCommand(tx, message, runId, 'turn');
      const attempt = verdict.queued ? null : await activateTurn(tx, settings, runId);
      const interrupted = verdict.interrupt ? situation.facts.activeRun?.runId : undefined;
      return {
        decision: {
          decision: 'turn',
          runId,
          commandId: message.command_id,
          queued: verdict.queued,
          launcher: launcherFor(settings, message),
          first: attempt,
        },
        touchedRunIds: interrupted === undefined ? [runId] : [runId, interrupted],
        attempt,
      };
    }
  }
}

/** The run that the message was to begin, locked, unless another message has begun it or it has ended in between. */
async function unbegunRun(tx: Transaction, runId: string | null): Promise<string | null> {
  if (runId === null) return null;
  const found = await tx.query(
    'select 1 from runs where run_id = $1 and prompt_command_id is null and terminal_status is null for update',
    [runId],
  );
  return found.rowCount === 1 ? runId : null;
}

/** A run that existed before its message waits for a runner that somebody else starts (architecture.md 4.4). */
function launcherFor(settings: AttemptSettings, message: Message): Launcher {
  return message.run_id === null && message.body.createRunnerJob ? settings.launcher : 'external';
}

function ownershipProblem(message: Message, situation: SendSituation): AcceptedMessage | undefined {
  if (situation.owner === null) {
    const run = message.body.run;
    if (run?.tenantId !== undefined && run.projectId !== undefined) return undefined;
    return refuse(
      'not-found',
      `session ${message.session_id} does not exist; create it, or send run.tenantId and run.projectId`,
    );
  }
  if (situation.owner.tenantId !== message.tenant_id)
    return refuse('not-found', `session ${message.session_id} does not exist`);
  const { projectId, backendProfile } = message.body.run ?? {};
  if (projectId !== undefined && projectId !== situation.owner.projectId) {
    return refuse('conflict', `run.projectId: the session belongs to project ${situation.owner.projectId}`);
  }
  if (backendProfile !== undefined && backendProfile !== situation.owner.backendProfile) {
    return refuse('conflict', `run.backendProfile: the session runs on ${situation.owner.backendProfile}`);
  }
  return undefined;
}

const refuse = (failureKind: string, message: string): AcceptedMessage => ({
  decision: { decision: 'refused', failureKind, message },
  touchedRunIds: [],
  attempt: null,
});

async function createRunForMessage(
  tx: Transaction,
  settings: AttemptSettings,
  message: Message,
  situation: SendSituation,
): Promise<string> {
  const body = message.body.run ?? {};
  if (situation.owner === null) await createSessionFromRun(tx, message, body);
  return insertRun(tx, message.session_id, body, {
    launcher: launcherFor(settings, message),
    traceparent: message.traceparent,
  });
}

async function createSessionFromRun(tx: Transaction, message: Message, body: SendRun): Promise<void> {
  const run = createRunSchema.parse(body);
  await tx.query(
    `insert into sessions (session_id, tenant_id, project_id, backend_profile, conversation_id, thread_id, workspace, execution_policy,
       metadata, storage_kind, storage_backend, storage_pvc_name, storage_pvc_phase, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pvc', 'directory', 'agentrun-session-' || $1, 'Bound', now() + interval '30 days')
     on conflict (session_id) do nothing`,
    [
      message.session_id,
      message.tenant_id,
      run.projectId,
      run.backendProfile,
      run.sessionRef?.conversationId ?? null,
      run.sessionRef?.threadId ?? null,
      run.workspace === undefined ? null : JSON.stringify(run.workspace),
      JSON.stringify(run.executionPolicy ?? {}),
      JSON.stringify(run.sessionRef?.metadata ?? {}),
    ],
  );
}

async function insertCommand(
  tx: Transaction,
  message: Message,
  runId: string,
  type: 'turn' | 'steer',
): Promise<void> {
  await addCommand(tx, {
    commandId: message.command_id,
    runId,
    type,
    payload: message.body.payload,
    idempotencyKey: message.idempotency_key,
  });
}
