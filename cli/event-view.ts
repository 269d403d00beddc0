import { styleText } from 'node:util';
import type { RunEvent } from '../contract/events.js';
import { commandHead, duration, eventLines } from './event-lines.js';
import { TurnTotals } from './turn-totals.js';

/** How `watch` shows the events of a session one after another: what a line says may depend on those before it. */
export class EventView {
  readonly #sessionId: string;
  readonly #totals = new TurnTotals();
  #runId: string | undefined;
  /** The command whose `$` is the last line that was shown. */
  #open: string | undefined;

  constructor(sessionId: string) {
    this.#sessionId = sessionId;
  }

  lines(event: RunEvent): string[] {
    this.#totals.add(event);
    const lines = this.#linesOf(event);
    if (lines.length === 0) return [];
    const nextTurn = this.#runId !== undefined && this.#runId !== event.runId ? [''] : [];
    this.#runId = event.runId;
    return [...nextTurn, ...lines];
  }

  #linesOf(event: RunEvent): string[] {
    const { type } = event;
    const lines = eventLines(event, this.#sessionId);
    if (type === 'command_execution') return this.#commandLines(event, lines);
    if (lines.length > 0) this.#open = undefined;
    if (type !== 'terminal_status') return lines;
    const { tookMs, tokens } = this.#totals.of(event);
    const words = [
      ...(tookMs === null ? [] : [duration(tookMs)]),
      ...(tokens === 0 ? [] : [`${tokens.toLocaleString('en')} tokens`]),
    ];
    return words.length === 0 ? lines : [`${lines.join('')}${styleText('gray', `, ${words.join(', ')}`)}`];
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
