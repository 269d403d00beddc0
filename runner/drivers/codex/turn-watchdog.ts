import { errorLine, pause } from '../../../client/index.js';
import type { DriverLog } from '../driver.js';
import type { RecordedTurn } from './codex-protocol.js';

export interface WatchdogTimings {
  /** `idle` comes 1 ms before turn/completed; this much later it is not coming any more (agents.md 2.1). */
  readonly idleGraceMs: number;
  /** An answered interrupt is followed by turn/completed within some 10 ms; this is how long it is waited for before each look at the record. */
  readonly confirmMs: number;
  readonly confirmRounds: number;
}
export const watchdogTimings: WatchdogTimings = { idleGraceMs: 3_000, confirmMs: 3_000, confirmRounds: 3 };

export interface TurnWatchdogOptions {
  readonly timings: WatchdogTimings;
  /** Codex' record of the turn; null when there is none. */
  readonly read: () => Promise<RecordedTurn | null>;
  readonly interrupt: () => Promise<boolean>;
  /** The record says how the turn ended. */
  readonly onRecorded: (turn: RecordedTurn) => void;
  /** Not even the record says so, whatever was done. */
  readonly onGivenUp: () => void;
  readonly log: DriverLog;
}

/**
 * Watches one turn for the `turn/completed` that never comes (agents.md 2.1, Exit): the thread is idle, or an interrupt was answered, and still the
 * turn has no end. Then Codex' own record of the turn decides. A turn that is still in progress there is interrupted, and given up after some rounds.
 */
export class TurnWatchdog {
  readonly #options: TurnWatchdogOptions;
  #idleTimer: NodeJS.Timeout | undefined;
  #watching = false;
  #stopped = false;

  constructor(options: TurnWatchdogOptions) {
    this.#options = options;
  }

  /** The thread has become idle. */
  idle(): void {
    if (this.#stopped || this.#watching || this.#idleTimer !== undefined) return;
    this.#idleTimer = setTimeout(() => void this.#watch(true), this.#options.timings.idleGraceMs);
  }

  /** The thread is active again. */
  active(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
  }

  /** The agent has accepted an interrupt. */
  interrupted(): void {
    void this.#watch(false);
  }

  /** The turn has ended. */
  stop(): void {
    this.#stopped = true;
    this.active();
  }

  async #watch(becauseIdle: boolean): Promise<void> {
    if (this.#stopped || this.#watching) return;
    this.#watching = true;
    const { timings, log } = this.#options;
    if (becauseIdle) {
      log.warn({ graceMs: timings.idleGraceMs }, 'the thread is idle and its turn has no end');
      if (await this.#settled()) return;
      await this.#options.interrupt().catch((error: unknown) => {
        log.warn(errorLine(error), 'the idle turn was not interrupted');
      });
    }
    for (let round = 1; round <= timings.confirmRounds; round += 1) {
      await pause(timings.confirmMs);
      if (await this.#settled()) return;
      log.warn({ round }, 'the interrupted turn has no end');
    }
    this.#options.onGivenUp();
  }

  async #settled(): Promise<boolean> {
    if (this.#stopped) return true;
    const turn = await this.#options.read().catch((error: unknown) => {
      this.#options.log.warn(errorLine(error), 'the record of the turn cannot be read');
      return null;
    });
    if (this.#stopped) return true;
    if (turn === null || turn.status === 'inProgress') return false;
    this.#options.onRecorded(turn);
    return true;
  }
}
