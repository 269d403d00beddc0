import { styleText } from 'node:util';
import type { RunEvent } from '../contract/events.js';
import { commandHead, endLine, eventLines } from './event-lines.js';
import { TurnTotals, totalsText } from './turn-totals.js';

/** How `watch` shows the events of a session one after another: what a line says may depend on those before it. */
export class EventView {
  readonly #sessionId: string;
  readonly #totals = new TurnTotals();
  #runId: string | undefined;
  /** The command whose `$` is the last line that was shown. */
  #open: string | undefined;
  /** The error that was shown last: the end of the turn does not repeat it. */
  #error: unknown;
  #endedWithoutTotals: string | null = null;

  constructor(sessionId: string) {
    this.#sessionId = sessionId;
  }

  /** The run whose end was shown last, when what it took and used is not known from its events. */
  get endedWithoutTotals(): string | null {
    return this.#endedWithoutTotals;
  }

  /** The lines of an event, on a terminal for one that has so many columns. */
  lines(event: RunEvent, columns: number | null = null): string[] {
    this.#totals.add(event);
    if (this.#runId !== event.runId) this.#error = undefined;
    const lines = this.#linesOf(event, columns);
    if (lines.length === 0) return [];
    const nextTurn = this.#runId !== undefined && this.#runId !== event.runId ? [''] : [];
    this.#runId = event.runId;
    return [...nextTurn, ...lines];
  }

  #linesOf(event: RunEvent, columns: number | null): string[] {
    const { type, payload } = event;
    if (type === 'terminal_status') return [this.#endLine(event)];
    if (type === 'error') this.#error = payload.message;
    const lines = eventLines(event, this.#sessionId, columns);
    if (type === 'command_execution') return this.#commandLines(event, lines);
    if (lines.length > 0) this.#open = undefined;
    return lines;
  }

  #endLine(event: RunEvent): string {
    this.#open = undefined;
    const { payload } = event;
    const line = endLine(payload.message === this.#error ? { ...payload, message: null } : payload);
    const totals = totalsText(this.#totals.of(event));
    this.#endedWithoutTotals = totals === '' ? event.runId : null;
    return totals === '' ? line : `${line}${styleText('gray', `, ${totals}`)}`;
  }

  /** The end of a command stands below its beginning, or says whose it is. */
  #commandLines(event: RunEvent, lines: string[]): string[] {
    const { status, itemId } = event.payload;
    const begins = status === 'inProgress';
    const isBelow = !begins && this.#open !== undefined && this.#open === itemId;
    this.#open = begins && typeof itemId === 'string' ? itemId : undefined;
    return begins || isBelow ? lines : [...commandHead(event), ...lines];
  }
}
