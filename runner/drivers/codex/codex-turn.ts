import type { z } from 'zod';
import type { ProducedEvent } from '../../../contract/events.js';
import type { RunFailureKind } from '../../../contract/failure-kinds.js';
import type { ProxyObservation } from '../../proxy/proxy-observation.js';
import type { TurnEnd } from '../driver.js';
import { classifyCodexError, readInfo } from './codex-errors.js';
import type { TurnError, turnSchema } from './codex-protocol.js';

/** The turn that the driver's `prompt` started. */
export interface ActiveTurn {
  /** Null until `turn/start` was answered. */
  id: string | null;
  /** The last whole-turn diff that the agent reported. */
  diff: string | null;
  /** The last error that is not going to be retried. */
  error: TurnError | null;
  /** Runs from the thread's idle status to a turn/completed that may never come. */
  idleTimer: NodeJS.Timeout | undefined;
}

export function newTurn(): ActiveTurn {
  return { id: null, diff: null, error: null, idleTimer: undefined };
}

/** The end of a turn from Codex' own record of it. Pure. */
export function turnEndOf(
  turn: z.infer<typeof turnSchema>,
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
  if (turn.status === 'inProgress') {
    return failedTurn('agent-error', 'the agent went idle without ending its turn', turn.id);
  }
  const error = turn.error ?? lastError;
  const { failureKind } = classifyCodexError({
    codexErrorInfo: error?.codexErrorInfo ?? null,
    message: error?.message ?? '',
    proxy: observation,
  });
  return failedTurn(failureKind, error?.message ?? 'the turn failed without a reason', turn.id);
}

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
