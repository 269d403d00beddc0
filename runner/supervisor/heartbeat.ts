import { type ClientLog, errorLine, pause } from '../../client/index.js';
import { isFencing } from './api-refusals.js';

const maxRequestMs = 10_000;
const retryMs = 2_000;
/** What a timer can count. */
const longestTimerMs = 2 ** 31 - 1;

export interface HeartbeatOptions {
  /** One heartbeat; answers the milliseconds until the next. */
  readonly beat: (timeoutMs: number) => Promise<number>;
  readonly intervalMs: number;
  /** Without a successful heartbeat for this long (monotonic clock) the supervisor fences itself (architecture.md 5). */
  readonly fenceAfterMs: number;
  readonly onFenced: (reason: string) => void;
  /** After so many failures one after another that the runner counted as degraded: they are over. */
  readonly onRecovered?: (outage: Outage) => void;
  readonly log: ClientLog;
}

/** A time in which no heartbeat got through. */
export interface Outage {
  readonly failures: number;
  /** From the last heartbeat that got through to the next one. */
  readonly durationMs: number;
}

/** Failed heartbeats in a row that make a runner degraded (requirements.md A.0.c 31). */
export const degradedAfterFailures = 3;

/** Milliseconds without a heartbeat after which a supervisor fences itself (architecture.md 5). Pure. */
export function selfFenceMs(leaseMs: number, partitionGraceMs: number): number {
  return leaseMs + partitionGraceMs - Math.min(60_000, partitionGraceMs / 4);
}

/**
 * Sends heartbeats until stopped, jittered by a tenth. A failed one is repeated soon; a refused one fences. So does a timer of its own when none
 * succeeded for `fenceAfterMs`, counted from when the last good one was sent: the lease cannot have begun before, and a request that hangs
 * must not put the fence off.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #stopping = new AbortController();
  #lastSuccess = performance.now();
  #fenceTimer: NodeJS.Timeout | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  start(): void {
    this.#armFence();
    void this.#loop();
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#fenceTimer);
  }

  /** A timer may fire late (a stopped process) or early (its clock is another one), so it looks at the time itself. */
  #armFence(): void {
    if (this.#stopping.signal.aborted) return;
    const leftMs = this.#lastSuccess + this.#options.fenceAfterMs - performance.now();
    if (leftMs <= 0) this.#fence('no heartbeat succeeded for too long');
    else this.#fenceTimer = setTimeout(() => this.#armFence(), Math.min(leftMs, longestTimerMs));
  }

  #fence(reason: string): void {
    this.stop();
    this.#options.onFenced(reason);
  }

  #recovered(failures: number, nowMs: number): void {
    if (failures < degradedAfterFailures) return;
    const outage = { failures, durationMs: Math.round(nowMs - this.#lastSuccess) };
    this.#options.log.warn({ state: 'serving', ...outage }, 'heartbeats get through again');
    this.#options.onRecovered?.(outage);
  }

  async #loop(): Promise<void> {
    const { beat, log } = this.#options;
    const { signal } = this.#stopping;
    let intervalMs = this.#options.intervalMs;
    let waitMs = intervalMs;
    for (let failures = 0; ; ) {
      await pause(waitMs * (0.9 + Math.random() * 0.2), signal);
      if (signal.aborted) return;
      const sentAt = performance.now();
      try {
        intervalMs = await beat(Math.min(maxRequestMs, Math.max(1_000, intervalMs)));
        if (signal.aborted) return;
        this.#recovered(failures, sentAt);
        this.#lastSuccess = sentAt;
        failures = 0;
        waitMs = intervalMs;
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        if (isFencing(error)) return this.#fence(`heartbeat: ${error.failureKind}`);
        const state = failures >= degradedAfterFailures ? 'degraded' : 'serving';
        log.warn({ attempt: failures, state, ...errorLine(error) }, 'heartbeat failed');
        waitMs = Math.min(intervalMs, retryMs);
      }
    }
  }
}
