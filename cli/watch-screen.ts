import { styleText } from 'node:util';
import { marker } from './event-lines.js';
import { EventView } from './event-view.js';
import { LiveText } from './live-text.js';
import type { Output } from './output.js';
import type { WatchFrame } from './watch-session.js';

/** Shows the frames of a session's stream: to a person, with the text that is being written on a terminal, or each as a line of JSON. */
export class WatchScreen {
  readonly #output: Output;
  readonly #view: EventView;
  readonly #live = new LiveText();

  constructor(output: Output, sessionId: string) {
    this.#output = output;
    this.#view = new EventView(sessionId);
  }

  /** @throws ReaderGone */
  show(frames: readonly WatchFrame[]): void {
    this.#output.data(...frames);
    if (this.#output.json) return;
    const columns = this.#output.columns();
    const lines = frames.flatMap((frame) => this.#lines(frame, columns));
    this.#output.live(columns === null ? [] : this.#live.lines(columns));
    this.#output.line(...lines);
  }

  #lines(frame: WatchFrame, columns: number | null): string[] {
    switch (frame.frame) {
      case 'event':
        this.#live.ends(frame.data);
        return this.#view.lines(frame.data, columns);
      case 'delta':
        this.#live.add(frame.data);
        return [];
      case 'gap': {
        const { from, to, reason } = frame.data;
        return [marker(`events ${from} to ${to} are not kept any more (${reason})`)];
      }
      case 'stream-end':
        return [styleText('gray', `■ the session was ${frame.data.status}`)];
      case 'caught-up':
        return [];
    }
  }

  /** The run whose end was shown without what it took and used. */
  get endedWithoutTotals(): string | null {
    return this.#view.endedWithoutTotals;
  }

  /** Leaves the text that is being written where it is: nobody looks on. */
  settle(): void {
    this.#output.settle();
  }

  /** Takes away what was only for the moment. */
  close(): void {
    this.#output.live([]);
  }
}
