import { ApiError, type ClientLog, errorLine, pause } from '../../client/index.js';

const maxRequestMs = 10_000;
const retryMs = 2_000;

export interface HeartbeatOptions {
  /** One heartbeat; answers the milliseconds until the next. */
  readonly beat: (timeoutMs: number) => Promise<number>;
  readonly intervalMs: number;
  /** Without a successful heartbeat for this long (monotonic clock) the supervisor fences itself (architecture.md 5). */
  readonly fenceAfterMs: number;
  readonly onFenced: (reason: string) => void;
  readonly log: ClientLog;
}

/** Milliseconds without a heartbeat after which a supervisor fences itself (architecture.md 5). Pure. */
export function selfFenceMs(leaseMs: number, partitionGraceMs: number): number {
  return leaseMs + partitionGraceMs - Math.min(60_000, partitionGraceMs / 4);
}

/** Sends heartbeats until stopped, jittered by a tenth. A failed one is repeated soon; a refused one fences. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #stopping = new AbortController();
  #lastSuccess = performance.now();

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#loop();
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #loop(): Promise<void> {
    const { beat, fenceAfterMs, onFenced, log } = this.#options;
    const { signal } = this.#stopping;
    let intervalMs = this.#options.intervalMs;
    let waitMs = intervalMs;
    for (let failures = 0; ; ) {
      await pause(waitMs * (0.9 + Math.random() * 0.2), signal);
      if (signal.aborted) return;
      try {
        intervalMs = await beat(Math.min(maxRequestMs, Math.max(1_000, intervalMs)));
        this.#lastSuccess = performance.now();
        failures = 0;
        waitMs = intervalMs;
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        if (isFinal(error)) return onFenced(`heartbeat: ${error.failureKind}`);
        log.warn({ attempt: failures, ...errorLine(error) }, 'heartbeat failed');
        waitMs = Math.min(intervalMs, retryMs);
      }
      if (performance.now() - this.#lastSuccess > fenceAfterMs)
        return onFenced('no heartbeat succeeded for too long');
    }
  }
}

/** The API knows this runner or attempt no more. A 401 is not final: an outage may have outlived a token. */
function isFinal(error: unknown): error is ApiError {
  return (
    error instanceof ApiError &&
    (error.failureKind === 'fenced' || error.status === 404 || error.status === 403)
  );
}
