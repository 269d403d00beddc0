import { styleText } from 'node:util';
import type { RunEvent } from '../contract/events.js';
import type { Delta } from '../contract/streams.js';
import { escapeText } from './terminal-text.js';
import { indent, textLines } from './text-width.js';

const mostLines = 8;
/** As wide as the label of the message that takes its place, so that nothing moves then. */
const label = '…'.padEnd('agent> '.length);
/** UTF-16 units; more cannot be shown in so few lines. */
const kept = 4_000;

/**
 * The text that an agent is writing now. It is never more than a glance: the event of its item takes its place, and what is missing of it is
 * not waited for.
 */
export class LiveText {
  #itemId = '';
  /** Where `#text` begins in the item. */
  #start = 0;
  #text = '';

  /** Takes a piece: it replaces what the item had from its offset on. */
  add({ itemId, offset, text }: Delta): void {
    const at = offset - this.#start;
    const goesOn = this.#itemId === itemId && at >= 0 && at <= this.#text.length;
    const whole = goesOn ? this.#text.slice(0, at) + text : text;
    this.#start = offset + text.length - whole.length;
    this.#itemId = itemId;
    const tooMuch = Math.max(0, whole.length - kept);
    this.#text = whole.slice(tooMuch);
    this.#start += tooMuch;
  }

  /** An event was stored: its item is written, and at the end of a turn nothing is being written any more. */
  ends({ type, payload }: RunEvent): void {
    if (payload.itemId === this.#itemId || type === 'terminal_status' || type === 'attempt_started')
      this.#text = '';
  }

  /** The last lines of it, in a terminal that is so wide; none when nothing is being written. */
  lines(columns: number): string[] {
    if (this.#text.trim() === '') return [];
    const all = textLines(escapeText(this.#text).trimEnd(), label.length, columns);
    const [first = '', ...rest] = all.slice(-mostLines);
    const begins = all.length <= mostLines ? label : '… ';
    return [`${begins}${first}`, ...rest.map((line) => `${indent}${line}`)].map((line) =>
      styleText('gray', line),
    );
  }
}
