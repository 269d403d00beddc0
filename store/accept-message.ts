import { z } from 'zod';
import { type AnswerPayload, answerPayloadSchema } from '../contract/agent-requests.js';
import { commandPayloadSchema } from '../contract/commands.js';
import { runIdSchema } from '../contract/ids.js';
import { createRunSchema, type Launcher, type SendRun, sendRunSchema } from '../contract/runs.js';
import { whenBusySchema } from '../contract/sessions.js';
import { decideSend, type SendDecision } from '../domain/send-plan.js';
import { resolveByAnswer, wordlessAnswer } from './agent-requests.js';
import type { AttemptSettings, PreparedAttempt } from './attempts.js';
import { appendEvents } from './events.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { activateTurn, addCommand, insertRun } from './run-rows.js';
import { loadSendFacts, type SendSituation } from './send-facts.js';
import { directories, storageColumns } from './storage-place.js';

/** What the API stored about a message: the part of the send body that the decision and the turn need. */
export const messageBodySchema = z.object({
  payload: commandPayloadSchema,
  whenBusy: whenBusySchema.default('steer'),
  /** The run that this is to steer, where the caller named one: another is never steered. */
  steers: runIdSchema.optional(),
  run: sendRunSchema.optional(),
  /** False: the turn waits for a runner that somebody else starts (architecture.md 4.4). */
  createRunnerJob: z.boolean().default(true),
  /** When the turn that this begins is ended. */
  deadlineAt: z.iso.datetime({ offset: true }).optional(),
});
export type MessageBody = z.infer<typeof messageBodySchema>;

/** A message that answers a request of the agent: nothing else is decided about it. */
const answerBodySchema = z.strictObject({ answer: answerPayloadSchema });
export type AnswerBody = z.infer<typeof answerBodySchema>;

const messageRowSchema = z.object({
  command_id: z.string(),
  tenant_id: z.string(),
  session_id: z.string(),
  idempotency_key: z.string(),
  body: z.union([answerBodySchema, messageBodySchema]),
  run_id: z.string().nullable(),
  traceparent: z.string().nullable(),
  decision: z.custom<SendDecision>((value) => typeof value === 'object' && value !== null).nullable(),
});
type StoredMessage = z.infer<typeof messageRowSchema>;
/** A message that steers or begins a turn. */
type Message = StoredMessage & { readonly body: MessageBody };

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
    if (message.decision !== null)
      return { decision: message.decision, touchedRunIds: [], begunIn: null, attempt: null };
    return store(tx, commandId, await decide(tx, settings, message));
  });
}

async function store(
  tx: Transaction,
  commandId: string,
  accepted: AcceptedMessage,
): Promise<AcceptedMessage> {
  // A message is read to be decided, once: the words of an answer are its command's from here on.
  await tx.query(
    `update session_messages set decision = $2, decided_at = now(),
       body = case when body ? 'answer' then jsonb_build_object('answer', ${wordlessAnswer(`(body -> 'answer')`)}) else body end
      where command_id = $1`,
    [commandId, JSON.stringify(accepted.decision)],
  );
  return accepted;
}

/** The decision, and whom to wake after the commit: runs that changed, the session whose next turn began, and the runner of an attempt that was prepared. */
export interface AcceptedMessage {
  readonly decision: SendDecision;
  readonly touchedRunIds: readonly string[];
  readonly begunIn: string | null;
  readonly attempt: PreparedAttempt | null;
}

async function decide(
  tx: Transaction,
  settings: AttemptSettings,
  message: StoredMessage,
): Promise<AcceptedMessage> {
  const situation = await loadSendFacts(tx, message.session_id, true);
  const { body } = message;
  if ('answer' in body) return decideAnswer(tx, message, body.answer, situation);
  return decideMessage(tx, settings, { ...message, body }, situation);
}

/** An answer goes to the run that asked, whether or not a runner of it is there now. */
async function decideAnswer(
  tx: Transaction,
  message: StoredMessage,
  answer: AnswerPayload,
  situation: SendSituation,
): Promise<AcceptedMessage> {
  const { requestId } = answer;
  const { command_id: commandId, session_id: sessionId } = message;
  if (situation.owner?.tenantId !== message.tenant_id || situation.facts.session === 'deleted')
    return unknownSession(message);
  const resolved = await resolveByAnswer(tx, sessionId, answer, commandId);
  if ('refused' in resolved) {
    return resolved.refused === 'unknown'
      ? refuse('not-found', `request ${requestId} does not exist`)
      : refuse('conflict', `request ${requestId} cannot be answered any more: it is ${resolved.refused}`);
  }
  const { runId } = resolved;
  await addCommand(tx, {
    commandId,
    runId,
    type: 'answer',
    payload: answer,
    idempotencyKey: message.idempotency_key,
  });
  return {
    decision: { decision: 'answer', runId, commandId, requestId },
    touchedRunIds: [runId],
    begunIn: null,
    attempt: null,
  };
}

async function decideMessage(
  tx: Transaction,
  settings: AttemptSettings,
  message: Message,
  situation: SendSituation,
): Promise<AcceptedMessage> {
  const problem = ownershipProblem(message, situation);
  if (problem !== undefined) return problem;
  const steered = await steeredRun(tx, message.body.steers, situation);
  const refusal = steerRefusal(steered);
  if (refusal !== undefined) return refuse('conflict', refusal);
  const verdict = decideSend(situation.facts, steered === 'ended' ? 'queue' : message.body.whenBusy);
  switch (verdict.kind) {
    case 'refuse':
      return refuse(verdict.failureKind, verdict.message);
    case 'steer': {
      await insertCommand(tx, message, verdict.runId, 'steer');
      return {
        decision: { decision: 'steer', runId: verdict.runId, commandId: message.command_id },
        touchedRunIds: [verdict.runId],
        begunIn: null,
        attempt: null,
      };
    }
    case 'turn': {
      if (await isPast(tx, message.body.deadlineAt)) {
        return refuse('schema-invalid', 'deadlineAt: expected a time in the future');
      }
      const runId =
        (await unbegunRun(tx, message.run_id)) ??
        (await createRunForMessage(tx, settings, message, situation));
      if (verdict.interrupt && situation.facts.activeRun !== null) {
        await interrupt(tx, situation.facts.activeRun.runId);
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
          ...(interrupted === undefined ? {} : { interrupts: interrupted }),
        },
        touchedRunIds: interrupted === undefined ? [runId] : [runId, interrupted],
        begunIn: attempt === null ? null : message.session_id,
        attempt,
      };
    }
  }
}

/** Where a run stands that is to be steered by its id. The session's row is locked, so that none of its turns begins meanwhile. */
type SteeredRun = 'any' | 'active' | 'unbegun' | 'queued' | 'cancelled' | 'ended';

async function steeredRun(
  tx: Transaction,
  runId: string | undefined,
  { facts }: SendSituation,
): Promise<SteeredRun> {
  if (runId === undefined) return 'any';
  const found = await tx.query<{ begun: boolean; cancelled: boolean; ended: boolean }>(
    `select prompt_command_id is not null as begun, coalesce(terminal_status = 'cancelled', cancel_requested_at is not null) as cancelled,
       terminal_status is not null as ended
       from runs where run_id = $1`,
    [runId],
  );
  const run = found.rows[0];
  if (run === undefined || run.cancelled) return 'cancelled';
  if (run.ended) return 'ended';
  if (!run.begun) return 'unbegun';
  return facts.activeRun?.runId === runId ? 'active' : 'queued';
}

/** A steer belongs to the run that it names (contract.md 5.6); one that ended by itself takes it as the next turn of its session. */
function steerRefusal(run: SteeredRun): string | undefined {
  if (run === 'unbegun') return 'the run has not begun: a turn command begins it';
  if (run === 'queued') return 'the run waits behind another turn of its session and cannot be steered yet';
  if (run === 'cancelled') return 'the run was cancelled: it takes no steer';
  return undefined;
}

async function isPast(tx: Transaction, time: string | undefined): Promise<boolean> {
  if (time === undefined) return false;
  const found = await tx.query<{ past: boolean }>('select $1::timestamptz <= now() as past', [time]);
  return found.rows[0]?.past === true;
}

const interruptReason = 'interrupted by a newer message';

/** A cancel, asked for by a message that does not wait. The run's row is locked by the caller. */
async function interrupt(tx: Transaction, runId: string): Promise<void> {
  const asked = await tx.query<{ current_epoch: number }>(
    `update runs set cancel_requested_at = now(), cancel_reason = $2, is_open = false, updated_at = now()
      where run_id = $1 and cancel_requested_at is null returning current_epoch`,
    [runId, interruptReason],
  );
  const run = asked.rows[0];
  if (run === undefined) return;
  await appendEvents(tx, runId, run.current_epoch, [
    { type: 'backend_status', payload: { phase: 'cancel-requested', reason: interruptReason } },
  ]);
}

/** The run that the message was to begin, locked, unless another message has begun it or it has ended in between. */
async function unbegunRun(tx: Transaction, runId: string | null): Promise<string | null> {
  if (runId === null) return null;
  const found = await tx.query(
    'select 1 from runs where run_id = $1 and prompt_command_id is null and terminal_status is null for no key update',
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
  if (situation.owner.tenantId !== message.tenant_id) return unknownSession(message);
  const mismatch = ownerMismatch(message.body.run, situation.owner);
  return mismatch === undefined ? undefined : refuse('conflict', mismatch);
}

/** What of a run body contradicts the session that it is for: 409. Asked for a plan too, so that it approves nothing that the send refuses. */
export function ownerMismatch(
  run: SendRun | undefined,
  owner: NonNullable<SendSituation['owner']>,
): string | undefined {
  const { projectId, backendProfile } = run ?? {};
  if (projectId !== undefined && projectId !== owner.projectId)
    return `run.projectId: the session belongs to project ${owner.projectId}`;
  if (backendProfile !== undefined && backendProfile !== owner.backendProfile)
    return `run.backendProfile: the session runs on ${owner.backendProfile}`;
  return undefined;
}

const unknownSession = (message: StoredMessage) =>
  refuse('not-found', `session ${message.session_id} does not exist`);

const refuse = (failureKind: string, message: string): AcceptedMessage => ({
  decision: { decision: 'refused', failureKind, message },
  touchedRunIds: [],
  begunIn: null,
  attempt: null,
});

async function createRunForMessage(
  tx: Transaction,
  settings: AttemptSettings,
  message: Message,
  situation: SendSituation,
): Promise<string> {
  const body = message.body.run ?? {};
  if (situation.owner === null) await createSessionFromRun(tx, settings, message, body);
  return insertRun(tx, message.session_id, body, {
    launcher: launcherFor(settings, message),
    traceparent: message.traceparent,
    ...(message.body.deadlineAt === undefined ? {} : { deadlineAt: message.body.deadlineAt }),
  });
}

async function createSessionFromRun(
  tx: Transaction,
  settings: AttemptSettings,
  message: Message,
  body: SendRun,
): Promise<void> {
  const run = createRunSchema.parse(body);
  const { backend, pvcName, namespace } = storageColumns(message.session_id, settings.storage ?? directories);
  const inserted = await tx.query(
    `insert into sessions (session_id, tenant_id, project_id, backend_profile, conversation_id, thread_id, workspace, execution_policy,
       metadata, storage_kind, storage_backend, storage_pvc_name, storage_namespace, storage_pvc_phase, expires_at, expires_at_chosen)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pvc', $10, $11, $12, 'Pending', now() + interval '30 days', false)
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
      backend,
      pvcName,
      namespace,
    ],
  );
  // Somebody else made it since it was looked for, perhaps of another tenant: the message is decided anew.
  if (inserted.rowCount === 0) throw new Error(`session ${message.session_id} was created meanwhile`);
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
