import { AgentRunError } from '../contract/errors.js';
import { isRequestFailureKind } from '../contract/failure-kinds.js';
import type { SendDecision } from '../domain/send-plan.js';
import type { AnswerBody, MessageBody } from '../store/accept-message.js';
import { bodyHash } from '../store/idempotency.js';
import { storeMessage } from '../store/session-messages.js';
import type { ApiDeps } from './deps.js';
import { unknownOutcome } from './unknown-outcome.js';

/** architecture.md 4.1. */
const inFlightPerSession = 8;

/** The sends of this process that wait for a decision, by session. */
const inFlight = new WeakMap<ApiDeps, Map<string, number>>();

/** A message for a session, whose owner is known. */
export interface SessionMessage {
  readonly tenantId: string;
  readonly projectId: string;
  readonly sessionId: string;
  /** Where the caller's key is valid. */
  readonly route: string;
  readonly idempotencyKey: string | null;
  readonly body: MessageBody | AnswerBody;
  /** A run that exists already and whose turn this begins. */
  readonly runId: string | null;
  /** What the same request may have been made into at another time, when its run stood differently: a repeat of it is a repeat of this. */
  readonly sameRequests?: readonly { readonly runId: string | null; readonly body: MessageBody }[];
  readonly traceparent: string;
}

export interface DecidedMessage {
  readonly decision: Exclude<SendDecision, { decision: 'refused' }>;
  readonly commandId: string;
  readonly idempotencyKey: string;
  /** An earlier request with this key was decided. */
  readonly replayed: boolean;
}

/**
 * Stores a message, lets its session decide, and answers the decision. The same key answers the same decision.
 *
 * @throws AgentRunError the refusal; `conflict` for a key with another body; `rate-limited`; `unavailable` with
 * `details {outcome: 'unknown', idempotencyKey}` when the decision may still come.
 */
export async function sendMessage(deps: ApiDeps, message: SessionMessage): Promise<DecidedMessage> {
  return withSlot(deps, message.sessionId, async () => {
    const { tenantId, projectId, sessionId } = message;
    const stored = await storeMessage(deps.pool, {
      ...message,
      bodyHash: messageHash(message),
      sameHashes: (message.sameRequests ?? []).map((same) => messageHash({ sessionId, ...same })),
    });
    const { commandId, idempotencyKey, replayed } = stored;
    const decision =
      stored.decision ??
      (await deps.gateway.send({ sessionId, tenantId, projectId }, commandId).catch((error: unknown) => {
        throw unknownOutcome(error, { idempotencyKey });
      }));
    if (decision.decision === 'refused') throw refusal(decision.failureKind, decision.message);
    deps.notifier.notify('agentrun_attempt', decision.runId);
    return { decision, commandId: decision.commandId, idempotencyKey, replayed };
  });
}

/** The recipe is that of 0.1.0, so that its keys replay, and ours with it while both versions answer; what a steer steers is in its route. */
const messageHash = ({ sessionId, runId, body }: Pick<SessionMessage, 'sessionId' | 'runId' | 'body'>) =>
  bodyHash({ sessionId, runId, body: { ...body, steers: undefined } });

async function withSlot<T>(deps: ApiDeps, sessionId: string, work: () => Promise<T>): Promise<T> {
  const counts = inFlight.get(deps) ?? new Map<string, number>();
  inFlight.set(deps, counts);
  const before = counts.get(sessionId) ?? 0;
  if (before >= inFlightPerSession) {
    throw new AgentRunError(
      'rate-limited',
      `session ${sessionId}: ${inFlightPerSession} sends are being decided already`,
      {
        retryAfterSeconds: 1,
      },
    );
  }
  counts.set(sessionId, before + 1);
  try {
    return await work();
  } finally {
    const now = (counts.get(sessionId) ?? 1) - 1;
    if (now === 0) counts.delete(sessionId);
    else counts.set(sessionId, now);
  }
}

/** The error for what a session's workflow refused. */
export function refusal(failureKind: string, message: string): AgentRunError {
  return new AgentRunError(isRequestFailureKind(failureKind) ? failureKind : 'conflict', message);
}
