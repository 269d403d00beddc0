import type { RunEvent } from '../contract/events.js';

/** How long a turn took and what it used, from its events. */
export class TurnTotals {
  #runId: string | undefined;
  #beganAtMs: number | null = null;
  #byProxy = 0;
  #byAgent = 0;

  add({ runId, seq, at, type, payload }: RunEvent): void {
    if (this.#runId !== runId) {
      this.#runId = runId;
      // Who comes in the middle of a turn knows neither when it began nor what it had used.
      this.#beganAtMs = seq === 1 ? Date.parse(at) : null;
      this.#byProxy = 0;
      this.#byAgent = 0;
    }
    if (type !== 'usage' || typeof payload.totalTokens !== 'number') return;
    // The proxy sees each request, the agent reports its sum so far.
    if (payload.source === 'proxy') this.#byProxy += payload.totalTokens;
    else this.#byAgent = payload.totalTokens;
  }

  /** At the end of a turn: milliseconds and tokens; null and 0 where they are not known. */
  of({ runId, at }: RunEvent): { tookMs: number | null; tokens: number } {
    if (this.#runId !== runId || this.#beganAtMs === null) return { tookMs: null, tokens: 0 };
    return { tookMs: Math.max(0, Date.parse(at) - this.#beganAtMs), tokens: this.#byProxy || this.#byAgent };
  }
}
