import type { Outcome } from '../../contract/commands.js';
import type { TurnEnd } from '../drivers/driver.js';

/** What the supervisor itself did to the turn. */
export interface Interference {
  readonly cancelRequested: boolean;
  readonly cancelReason: string | null;
  /** The supervisor was told to stop (SIGTERM). */
  readonly stopping: boolean;
}

/**
 * The outcome of an attempt from the turn's end (architecture.md 5). A turn that completed is completed, even when a
 * cancel or a stop came too late to matter. Pure.
 */
export function attemptOutcome(end: TurnEnd, interference: Interference, threadId: string | null): Outcome {
  const ids = {
    ...(threadId === null ? {} : { threadId }),
    ...(end.turnId === null ? {} : { turnId: end.turnId }),
  };
  if (end.status === 'completed')
    return { terminalStatus: 'completed', failureKind: null, failureMessage: null, ...ids };
  if (interference.cancelRequested) {
    return {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: interference.cancelReason,
      ...ids,
    };
  }
  if (interference.stopping) {
    return {
      terminalStatus: 'failed',
      failureKind: 'runner-evicted',
      failureMessage: 'the runner was stopped',
      ...ids,
    };
  }
  const failureMessage =
    end.message ?? (end.status === 'interrupted' ? 'the agent interrupted its turn by itself' : null);
  return { terminalStatus: 'failed', failureKind: end.failureKind ?? 'agent-error', failureMessage, ...ids };
}
