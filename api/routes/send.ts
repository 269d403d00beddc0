import type { CommandPayload } from '../../contract/commands.js';
import { AgentRunError } from '../../contract/errors.js';
import type { SendRun } from '../../contract/runs.js';
import type { ActiveBefore, SendAnswer, SendBody, SendPlan } from '../../contract/sessions.js';
import { decideSend } from '../../domain/send-plan.js';
import { ownerMismatch } from '../../store/accept-message.js';
import { getCommand, listCommands } from '../../store/commands.js';
import { getRun, latestRunnerJob } from '../../store/runs.js';
import { loadSendFacts } from '../../store/send-facts.js';
import { findSession, ofOtherTenant } from '../../store/sessions.js';
import { actionDescriptor, pollActions } from '../action-descriptors.js';
import { type NamedAnswer, namedAnswer } from '../answers.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { markReplayed, requestKey } from '../idempotency-key.js';
import { implement, type Route } from '../route.js';
import { sendMessage } from '../send-message.js';
import { requireTenant, requireWorkspace, tenantOf } from '../tenancy.js';

/** `POST /api/v1/sessions/:sessionId/send` (contract.md 3.6). */
export function sendRoutes(deps: ApiDeps): Route[] {
  return [
    implement('send', async (request) => {
      const { body, caller, trace } = request;
      const { sessionId } = request.params;
      const key = requestKey(request.idempotencyKey, {
        commandIdempotencyKey: body.commandIdempotencyKey,
        idempotencyKey: body.idempotencyKey,
      });
      const said = { sessionId, body, payload: payloadOf(body), run: runOf(body, sessionId) };
      const owner = await ownerOf(deps, caller, said);
      const asked = { ...said, named: await namedAnswer(deps.pool, said, owner.tenantId) };
      if (body.dryRun) return planSend(deps, asked, owner.tenantId);
      const { answer, replayed } = await send(deps, asked, { ...owner, key, traceparent: trace.traceparent });
      markReplayed(request, replayed);
      return answer;
    }),
  ];
}

interface SendRequest {
  readonly sessionId: string;
  readonly body: SendBody;
  readonly payload: CommandPayload;
  /** The run body; its session is the one of the path. */
  readonly run: SendRun | undefined;
  /** The answer to a request of the agent, if it is one. */
  readonly named: NamedAnswer | null;
}

function payloadOf(body: SendBody): CommandPayload {
  if (body.payload !== undefined) return body.payload;
  const text = [body.prompt, body.message, body.text]
    .map((candidate) => candidate?.trim() ?? '')
    .find((candidate) => candidate !== '');
  return { prompt: text ?? '' };
}

function runOf(body: SendBody, sessionId: string): SendRun | undefined {
  const run = body.run ?? body.runBase ?? undefined;
  return run === undefined ? undefined : { ...run, sessionRef: { ...run.sessionRef, sessionId } };
}

/**
 * Whose session it is; for one that is to be created, what the run body says.
 *
 * @throws AgentRunError `not-found` for an unknown session without run values; for a session of another tenant as `ensureSession`.
 */
async function ownerOf(
  deps: ApiDeps,
  caller: Caller,
  { sessionId, run }: Pick<SendRequest, 'sessionId' | 'run'>,
): Promise<{ tenantId: string; projectId: string }> {
  requireTenant(caller, run?.tenantId);
  requireWorkspace(caller, run?.workspace);
  const unknown = new AgentRunError(
    'not-found',
    `session ${sessionId} does not exist; create it or send run.tenantId and run.projectId`,
  );
  const session = await findSession(deps.pool, sessionId);
  if (session !== undefined) {
    const tenantId = tenantOf(caller) ?? run?.tenantId;
    if (tenantId !== undefined && tenantId !== session.tenantId) {
      // Who says no tenant is answered as if there were no such session.
      throw run?.tenantId === undefined || run.projectId === undefined
        ? unknown
        : ofOtherTenant(session, tenantOf(caller) === undefined);
    }
    return { tenantId: session.tenantId, projectId: session.projectId };
  }
  if (run?.tenantId === undefined || run.projectId === undefined) throw unknown;
  return { tenantId: run.tenantId, projectId: run.projectId };
}

async function send(
  deps: ApiDeps,
  { sessionId, body, payload, run, named }: SendRequest,
  from: { tenantId: string; projectId: string; key: string | null; traceparent: string },
): Promise<{ answer: SendAnswer; replayed: boolean }> {
  const { key, ...owner } = from;
  const { decision, commandId, idempotencyKey, replayed } = await sendMessage(deps, {
    ...owner,
    sessionId,
    route: `POST /api/v1/sessions/${sessionId}/send`,
    idempotencyKey: key,
    body:
      named === null
        ? {
            payload,
            whenBusy: body.whenBusy,
            createRunnerJob: body.createRunnerJob,
            ...(run === undefined ? {} : { run }),
            ...(body.deadlineAt === undefined ? {} : { deadlineAt: body.deadlineAt }),
          }
        : { answer: named.answer },
    runId: null,
  });
  const command = await getCommand(deps.pool, commandId);
  const isTurn = decision.decision === 'turn';
  const answer: SendAnswer = {
    action: 'session-send',
    dryRun: false,
    mutation: true,
    sessionId,
    decision: decision.decision,
    queued: isTurn && decision.queued,
    internalCommandType: command.type,
    run: await getRun(deps.pool, decision.runId, owner.tenantId),
    command,
    runnerJob: isTurn ? await latestRunnerJob(deps.pool, decision.runId) : null,
    activeBefore: isTurn ? null : await activeTurn(deps, decision.runId, owner.tenantId),
    pollActions: pollActions({ sessionId, runId: decision.runId, commandId }),
    idempotencyKey,
    valuesPrinted: false,
  };
  return { answer, replayed };
}

/**
 * The plan (contract.md 3.6.6), by the function that decides the real send.
 *
 * @param tenantId whom the session must belong to, if it exists: nothing is told of another's, also while that is being deleted.
 */
async function planSend(deps: ApiDeps, request: SendRequest, tenantId: string): Promise<SendPlan> {
  if (request.named !== null) return planAnswer(deps, request.sessionId, request.named, tenantId);
  const { sessionId, body, payload, run } = request;
  const { facts, owner } = await loadSendFacts(deps.pool, sessionId, false);
  if (owner !== null && (owner.tenantId !== tenantId || facts.session === 'deleted'))
    throw new AgentRunError('not-found', `session ${sessionId} does not exist`);
  const mismatch = owner === null ? undefined : ownerMismatch(run, owner);
  if (mismatch !== undefined) throw new AgentRunError('conflict', mismatch);
  const verdict = decideSend(facts, body.whenBusy);
  if (verdict.kind === 'refuse') throw new AgentRunError(verdict.failureKind, verdict.message);
  const steers = verdict.kind === 'steer';
  if (!steers && body.deadlineAt !== undefined && Date.parse(body.deadlineAt) <= Date.now()) {
    throw new AgentRunError('schema-invalid', 'deadlineAt: expected a time in the future');
  }
  const runBody = run ?? { sessionRef: { sessionId } };
  const decision = steers ? 'steer' : 'turn';
  const turnRequest = {
    runBytes: jsonBytes(runBody),
    createRunnerJob: body.createRunnerJob,
    runnerJobBytes: body.createRunnerJob ? jsonBytes(body.runnerJob ?? {}) : 0,
  };
  return {
    action: 'session-send-plan',
    dryRun: true,
    mutation: false,
    sessionId,
    decision,
    queued: verdict.kind === 'turn' && verdict.queued,
    internalCommandType: decision,
    activeBefore: steers ? await activeTurn(deps, verdict.runId, tenantId) : null,
    request: {
      method: 'POST',
      path: steers
        ? `/api/v1/runs/${verdict.runId}/commands`
        : `/api/v1/sessions/${encodeURIComponent(sessionId)}/send`,
      commandType: decision,
      payloadBytes: jsonBytes(payload),
      ...(steers ? {} : turnRequest),
      valuesPrinted: false,
    },
    ...(steers
      ? {}
      : {
          run: {
            bodyBytes: jsonBytes(runBody),
            sessionRef: {
              sessionId,
              conversationId: trimmed(runBody.sessionRef?.conversationId),
              threadId: trimmed(runBody.sessionRef?.threadId),
              metadataKeys: Object.keys(runBody.sessionRef?.metadata ?? {}).sort(),
              valuesPrinted: false,
            },
            valuesPrinted: false,
          },
        }),
    next: nextStep(
      sessionId,
      'Send the same without dryRun; the session decides steer or turn by what is stored then.',
    ),
    valuesPrinted: false,
  };
}

async function planAnswer(
  deps: ApiDeps,
  sessionId: string,
  { request, answer }: NamedAnswer,
  tenantId: string,
): Promise<SendPlan> {
  if (request.state !== 'pending') {
    throw new AgentRunError(
      'conflict',
      `request ${request.requestId} cannot be answered any more: it is ${request.state}`,
    );
  }
  return {
    action: 'session-send-plan',
    dryRun: true,
    mutation: false,
    sessionId,
    decision: 'answer',
    queued: false,
    internalCommandType: 'answer',
    activeBefore: await activeTurn(deps, request.runId, tenantId),
    request: {
      method: 'POST',
      path: `/api/v1/sessions/${encodeURIComponent(sessionId)}/send`,
      commandType: 'answer',
      payloadBytes: jsonBytes(answer),
      valuesPrinted: false,
    },
    next: nextStep(sessionId, 'Send the same without dryRun; the first answer counts.'),
    valuesPrinted: false,
  };
}

function nextStep(sessionId: string, note: string): SendPlan['next'] {
  const confirm = actionDescriptor({
    action: 'send-session',
    operation: 'send',
    resourceKind: 'session',
    resourceName: sessionId,
    sessionId,
    inputKind: 'prompt',
  });
  return { confirm, note };
}

async function activeTurn(deps: ApiDeps, runId: string, tenantId: string): Promise<ActiveBefore> {
  const run = await getRun(deps.pool, runId, tenantId);
  const prompt = (await listCommands(deps.pool, runId, { afterSeq: 0, limit: 1 }))[0];
  return {
    runId,
    commandId: prompt?.id ?? null,
    commandState: prompt?.state ?? null,
    runStatus: run.status,
    leaseExpiresAt: run.leaseExpiresAt,
    leaseExpired: run.leaseExpiresAt !== null && Date.parse(run.leaseExpiresAt) <= Date.now(),
    reason: 'active-turn-running',
    valuesPrinted: false,
  };
}

const jsonBytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value) ?? 'null');
const trimmed = (text: string | null | undefined) =>
  text === null || text === undefined || text.trim() === '' ? null : text.trim();
