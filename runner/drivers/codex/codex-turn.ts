import type { ProducedEvent } from '../../../contract/events.js';
import type { RunFailureKind } from '../../../contract/failure-kinds.js';
import type { ProxyObservation } from '../../proxy/proxy-observation.js';
import type { TurnEnd } from '../driver.js';
import { classifyCodexError, providerEvidence, readInfo } from './codex-errors.js';
import type { RecordedTurn, TurnError } from './codex-protocol.js';
import type { AnnouncedChange } from './shown-request.js';
import type { TurnWatchdog } from './turn-watchdog.js';

/** The turn that the driver's `prompt` started. */
export interface ActiveTurn {
  /** Id of the prompt's message. */
  readonly messageId: string;
  /** The prompt was seen in the thread. */
  promptSeen: boolean;
  /** Null until `turn/start` was answered. */
  id: string | null;
  /** The last whole-turn diff that the agent reported. */
  diff: string | null;
  /** The last error that is not going to be retried. */
  error: TurnError | null;
  /** Who wanted the turn to end before its time. The caller's wish counts over the watchdog's. */
  interruptedBy: 'caller' | 'watchdog' | null;
  /** The agent has accepted an interrupt. */
  interruptAccepted: boolean;
  readonly watchdog: TurnWatchdog;
  /** What the proxy had seen before this turn: no part of it. */
  readonly observationBefore: ProxyObservation | null;
  /** What patches that have begun are going to change, by thread and item ({@link changeKey}): a request to approve one does not say so. */
  readonly changes: Map<string, readonly AnnouncedChange[]>;
}

export function newTurn(
  messageId: string,
  watchdog: TurnWatchdog,
  observationBefore: ProxyObservation | null,
): ActiveTurn {
  return {
    messageId,
    promptSeen: false,
    id: null,
    diff: null,
    error: null,
    interruptedBy: null,
    interruptAccepted: false,
    watchdog,
    observationBefore,
    changes: new Map(),
  };
}

/** Ids of items may come again in another thread (a subagent's). */
export function changeKey(threadId: string, itemId: string): string {
  return `${threadId} ${itemId}`;
}

/** The turn's last request as the proxy saw it: what it saw before the turn began is no part of it. Pure. */
export function turnObservation(
  turn: ActiveTurn | undefined,
  last: ProxyObservation | null,
): ProxyObservation | null {
  return turn !== undefined && last === turn.observationBefore ? null : last;
}

/**
 * The end of a turn from Codex' own record of it; `last`: the last request that the proxy saw. A completed turn that never held the prompt is another's (a
 * compaction that was still running), and the prompt was swallowed: that is a failure. Pure.
 */
export function recordedEnd(
  turn: ActiveTurn,
  recorded: RecordedTurn,
  last: ProxyObservation | null,
): TurnEnd {
  if (recorded.status === 'completed' && !turn.promptSeen)
    return failedTurn('agent-error', 'the agent ended a turn without having taken the prompt', recorded.id);
  return turnEndOf(recorded, turn.error, turnObservation(turn, last));
}

/** The end of a turn from Codex' own record of it. `observation`: the turn's last request as the proxy saw it. Pure. */
export function turnEndOf(
  turn: RecordedTurn,
  lastError: TurnError | null,
  observation: ProxyObservation | null,
): TurnEnd {
  if (turn.status === 'completed')
    return { status: 'completed', failureKind: null, message: null, turnId: turn.id };
  if (turn.status === 'interrupted') {
    return {
      status: 'interrupted',
      failureKind: null,
      message: turn.error?.message ?? null,
      turnId: turn.id,
    };
  }
  if (turn.status === 'inProgress') return failedTurn('agent-error', idleWithoutEnd, turn.id);
  const error = turn.error ?? lastError;
  const facts = {
    codexErrorInfo: error?.codexErrorInfo ?? null,
    message: error?.message ?? '',
    proxy: observation,
  };
  const failure = classifyCodexError(facts);
  return {
    ...failedTurn(failure.failureKind, error?.message ?? 'the turn failed without a reason', turn.id),
    provider: providerEvidence(facts, failure),
  };
}

export const idleWithoutEnd = 'the agent went idle without ending its turn';

export function failedTurn(failureKind: RunFailureKind, message: string, turnId: string | null): TurnEnd {
  return { status: 'failed', failureKind, message: message.slice(0, 4_000), turnId };
}

/**
 * The `error` event of an error notification: `willRetry: true` is a note of progress, not a failure. `providerStatus`
 * is the agent's word, or else what the proxy saw last.
 */
export function errorEvent(
  error: TurnError,
  willRetry: boolean,
  observation: ProxyObservation | null,
): ProducedEvent {
  const info = error.codexErrorInfo ?? null;
  return {
    type: 'error',
    payload: {
      message: error.message.slice(0, 4_000),
      details: error.additionalDetails?.slice(0, 4_000) ?? null,
      willRetry,
      codexErrorInfo: readInfo(info).name || null,
      providerStatus: readInfo(info).status ?? observation?.status ?? null,
    },
  };
}
