import { ApiError, backoffMs, type ClientLog, errorLine, pause } from '../../client/index.js';
import type { Outcome } from '../../contract/commands.js';
import { isFinalRefusal } from './api-refusals.js';
import type { EventUploader } from './event-uploader.js';
import type { RunApi } from './manager-api.js';

const flushMs = 30_000;
const requestMs = 15_000;
const retryDelays = { baseDelayMs: 250, maxDelayMs: 10_000 };

/** What follows from the report: what the runner does next. `refused`: the API is there and does not take this outcome. */
export type ReportResult = 'idle' | 'closing' | 'refused' | 'fenced' | 'not-reported';

/**
 * Uploads what is left of the events with the completion line, then reports the attempt's outcome; both are repeated while the API is away. The outcome waits for the last event:
 * it decides what becomes of the steers, and what was not stored by then would be lost. The bound is `signal`: the self-fence, or the end of a stop's
 * grace.
 */
export async function reportOutcome(options: {
  readonly api: Pick<RunApi, 'finish'>;
  readonly uploader: Pick<EventUploader, 'complete'>;
  readonly outcome: Outcome;
  readonly signal: AbortSignal;
  /** Milliseconds for one flush: shorter when the supervisor is being stopped. */
  readonly flushLimitMs?: number;
  readonly log: ClientLog;
}): Promise<ReportResult> {
  const { api, uploader, signal, log } = options;
  const limitMs = options.flushLimitMs ?? flushMs;
  let { outcome } = options;
  let plain = false;
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    if (!(await uploader.complete(limitMs))) {
      log.warn({ attempt }, 'the outcome waits for events that were not taken');
      await pause(backoffMs(retryDelays, 1, undefined), signal);
      continue;
    }
    if (signal.aborted) break;
    try {
      const answer = await api.finish(outcome, Math.min(requestMs, limitMs));
      return answer.runnerState;
    } catch (error) {
      if (error instanceof ApiError && error.failureKind === 'fenced') return 'fenced';
      if (error instanceof ApiError && error.failureKind === 'schema-invalid' && !plain) {
        log.warn({ ...errorLine(error) }, 'the outcome does not fit: reported once more without its texts');
        plain = true;
        outcome = withoutTexts(outcome);
        continue;
      }
      if (isFinalRefusal(error)) {
        log.warn({ ...errorLine(error) }, 'the outcome was refused');
        return 'refused';
      }
      const delayMs = backoffMs(
        retryDelays,
        attempt,
        error instanceof ApiError ? error.retryAfterSeconds : undefined,
      );
      log.warn({ attempt, delayMs, ...errorLine(error) }, 'the outcome was not reported');
      await pause(delayMs, signal);
    }
  }
  return 'not-reported';
}

/** How it ended is worth more than the words, which came from outside. */
function withoutTexts({ terminalStatus, failureKind, threadId }: Outcome): Outcome {
  return {
    terminalStatus,
    failureKind: failureKind ?? null,
    failureMessage: failureKind == null ? null : 'the message of this failure could not be stored',
    ...(threadId === undefined ? {} : { threadId }),
  };
}
