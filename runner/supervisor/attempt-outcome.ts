import type { Outcome, ProviderEvidence } from '../../contract/commands.js';
import { storableText } from '../../contract/text.js';
import type { TurnEnd } from '../drivers/driver.js';

/** What the supervisor itself did to the turn. */
export interface Interference {
  readonly cancelRequested: boolean;
  readonly cancelReason: string | null;
  /** The supervisor was told to stop (SIGTERM). */
  readonly stopping: boolean;
}

/** What a failure message of an outcome may hold. */
const maxMessageLength = 4_000;

/**
 * The outcome of an attempt from the turn's end (architecture.md 5). A turn that completed is completed, even when a
 * cancel or a stop came too late to matter. What the provider had to do with a failure goes along as evidence; all texts come from outside, so
 * `redact` removes secrets from them, before they are cut to their length. Pure.
 */
export function attemptOutcome(
  end: TurnEnd,
  interference: Interference,
  threadId: string | null,
  redact: (text: string) => string,
): Outcome {
  const clean = (text: string): string => storableText(redact(text).slice(0, maxMessageLength));
  const ids = {
    ...(threadId === null ? {} : { threadId: storableText(threadId) }),
    ...(end.turnId === null ? {} : { turnId: storableText(end.turnId) }),
  };
  if (end.status === 'completed')
    return { terminalStatus: 'completed', failureKind: null, failureMessage: null, ...ids };
  if (interference.cancelRequested) {
    return {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: interference.cancelReason === null ? null : clean(interference.cancelReason),
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
  return {
    terminalStatus: 'failed',
    failureKind: end.failureKind ?? 'agent-error',
    failureMessage: failureMessage === null ? null : clean(failureMessage),
    ...ids,
    ...(end.provider == null ? {} : { provider: cleanEvidence(end.provider, redact) }),
  };
}

function cleanEvidence(provider: ProviderEvidence, redact: (text: string) => string): ProviderEvidence {
  const word = (text: string | null): string | null =>
    text === null ? null : storableText(redact(text).slice(0, 200));
  return {
    ...provider,
    errorCode: word(provider.errorCode),
    agentErrorInfo: word(provider.agentErrorInfo),
  };
}
