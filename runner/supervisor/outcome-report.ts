import { ApiError, backoffMs, type ClientLog, errorLine, pause } from '../../client/index.js';
import type { Outcome } from '../../contract/commands.js';
import type { EventUploader } from './event-uploader.js';
import type { RunApi } from './manager-api.js';

const flushMs = 30_000;
const requestMs = 15_000;
const retryDelays = { baseDelayMs: 250, maxDelayMs: 10_000 };

/** What follows from the report: what the runner does next. */
export type ReportResult = 'idle' | 'closing' | 'fenced' | 'not-reported';

/**
 * Uploads what is left of the events and reports the attempt's outcome; both are repeated while the API is away. The
 * bound is `signal`: the self-fence, or the end of a stop's grace.
 */
export async function reportOutcome(options: {
  readonly api: RunApi;
  readonly uploader: EventUploader;
  readonly outcome: Outcome;
  readonly signal: AbortSignal;
  /** Milliseconds for one flush: shorter when the supervisor is being stopped. */
  readonly flushLimitMs?: number;
  readonly log: ClientLog;
}): Promise<ReportResult> {
  const { api, uploader, outcome, signal, log } = options;
  const limitMs = options.flushLimitMs ?? flushMs;
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    const complete = await uploader.flush(limitMs);
    if (!complete) log.warn({ attempt }, 'not all events were taken before the outcome is reported');
    if (signal.aborted) break;
    try {
      const answer = await api.finish(outcome, Math.min(requestMs, limitMs));
      return answer.runnerState;
    } catch (error) {
      if (error instanceof ApiError && error.failureKind === 'fenced') return 'fenced';
      if (
        error instanceof ApiError &&
        error.status < 500 &&
        error.status !== 408 &&
        error.status !== 429 &&
        error.status !== 401
      ) {
        log.warn({ ...errorLine(error) }, 'the outcome was refused');
        return 'closing';
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
