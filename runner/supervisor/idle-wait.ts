import { ApiError, backoffMs, type ClientLog, errorLine, pause } from '../../client/index.js';
import type { Assignment } from '../../contract/runners.js';
import { isFinalRefusal } from './api-refusals.js';
import { Heartbeat } from './heartbeat.js';
import type { ManagerApi } from './manager-api.js';

const retryDelays = { baseDelayMs: 200, maxDelayMs: 5_000 };
const shortestPollMs = 100;
/** An idle runner that cannot reach the API holds nothing anybody waits for: it goes sooner than one with a turn. */
const fenceAfterMs = 15 * 60_000;

/**
 * Waits between turns: long poll for the next run of the session, and the heartbeat of an idle runner (architecture.md 7,
 * warm runner). Answers the assignment, or why the runner closes.
 */
export async function waitForNextRun(options: {
  readonly api: ManagerApi;
  readonly runnerId: string;
  readonly leaseMs: number;
  /** Fires on SIGTERM or when agent-host is gone. */
  readonly signal: AbortSignal;
  readonly log: ClientLog;
}): Promise<{ assignment: Assignment } | { close: string }> {
  const { api, runnerId, leaseMs, signal, log } = options;
  const closing = new AbortController();
  let closeReason = 'stopped';
  const close = (reason: string): void => {
    closeReason = reason;
    closing.abort();
  };
  const heartbeat = new Heartbeat({
    beat: async (timeoutMs) => {
      const answer = await api.renewRunner(runnerId, leaseMs, timeoutMs);
      if (answer.state === 'closing' || answer.state === 'gone') close(`the API says ${answer.state}`);
      return answer.nextHeartbeatMs;
    },
    intervalMs: Math.round(leaseMs / 3),
    fenceAfterMs,
    onFenced: close,
    log,
  });
  const until = AbortSignal.any([signal, closing.signal]);
  heartbeat.start();
  try {
    for (let failures = 0; !until.aborted; ) {
      const startedAt = performance.now();
      try {
        const answer = await api.next(runnerId, until);
        failures = 0;
        // A run that was handed over is served, also when a close came at the same moment.
        if (answer.assignment !== null) return { assignment: answer.assignment };
        if (answer.close) return { close: 'asked to close' };
        if (performance.now() - startedAt < shortestPollMs) await pause(shortestPollMs, until);
      } catch (error) {
        if (until.aborted) break;
        failures += 1;
        if (isFinalRefusal(error)) return { close: error.failureKind };
        const delayMs = backoffMs(
          retryDelays,
          failures,
          error instanceof ApiError ? error.retryAfterSeconds : undefined,
        );
        log.warn({ attempt: failures, delayMs, ...errorLine(error) }, 'the next run cannot be asked for');
        await pause(delayMs + 50, until);
      }
    }
    return { close: closeReason };
  } finally {
    heartbeat.stop();
  }
}
