import type { ApiClient } from '../client/index.js';
import type { RunEvent } from '../contract/events.js';
import { routes } from '../contract/routes/index.js';
import type { RunRecord } from '../contract/runs.js';
import { duration } from './event-lines.js';

/** Milliseconds and tokens of a turn; null and 0 where they are not known. */
export interface Totals {
  readonly tookMs: number | null;
  readonly tokens: number;
}

/** `4.0 s, 2,300 tokens`; empty when nothing is known. */
export function totalsText({ tookMs, tokens }: Totals): string {
  return [
    ...(tookMs === null ? [] : [duration(tookMs)]),
    ...(tokens === 0 ? [] : [`${tokens.toLocaleString('en')} tokens`]),
  ].join(', ');
}

/** The same of a run by its records, for who has not seen all of its events; empty also when they cannot be read now. */
export async function totalsOfRun(client: ApiClient, runId: string, record?: RunRecord): Promise<string> {
  try {
    const params = { runId };
    const { startedAt, finishedAt } = record ?? (await client.call(routes.getRun, { params }));
    const { usage } = await client.call(routes.getRunResult, { params });
    const isWhole = startedAt !== null && finishedAt !== null;
    const tookMs = isWhole ? Math.max(0, Date.parse(finishedAt) - Date.parse(startedAt)) : null;
    return totalsText({ tookMs, tokens: usage?.totalTokens ?? 0 });
  } catch {
    // The turn and how it ended were shown, which is what was asked for.
    return '';
  }
}

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

  /** At the end of a turn. */
  of({ runId, at }: RunEvent): Totals {
    if (this.#runId !== runId || this.#beganAtMs === null) return { tookMs: null, tokens: 0 };
    return { tookMs: Math.max(0, Date.parse(at) - this.#beganAtMs), tokens: this.#byProxy || this.#byAgent };
  }
}
