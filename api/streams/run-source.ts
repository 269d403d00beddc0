import { placeInRun } from './log-frames.js';
import { type LogReaders, type LogStart, RunReader } from './run-reader.js';
import type { RunEnd } from './run-tail.js';
import { frame, type StreamSource, type StreamStep } from './stream-source.js';

/** The stream of one run. */
export class RunSource implements StreamSource {
  readonly #reader: RunReader;
  readonly #storedSeq: number;
  #isCaughtUp = false;

  /** @param start with the last event that was stored when the reader came. */
  constructor(shared: LogReaders, start: LogStart & { readonly storedSeq: number }) {
    this.#reader = new RunReader(shared, start, placeInRun);
    this.#storedSeq = start.storedSeq;
  }

  async next(signal: AbortSignal): Promise<StreamStep> {
    const first = this.#caughtUp();
    if (first !== '') return { bytes: Buffer.from(first), ended: false };
    const bytes = await this.#reader.next(signal);
    const { end, cursor } = this.#reader;
    const more = `${this.#caughtUp()}${end === undefined ? '' : endFrame(end, cursor)}`;
    return {
      bytes: more === '' ? bytes : Buffer.concat([bytes, Buffer.from(more)]),
      ended: end !== undefined,
    };
  }

  #caughtUp(): string {
    if (this.#isCaughtUp || this.#reader.cursor < this.#storedSeq) return '';
    this.#isCaughtUp = true;
    return frame({ name: 'caught-up' }, { seq: this.#reader.cursor });
  }

  close(): void {
    this.#reader.close();
  }
}

function endFrame(end: RunEnd, cursor: number): string {
  const data =
    end.kind === 'deleted'
      ? { status: 'deleted', terminalStatus: null, lastSeq: cursor }
      : { status: end.state.status, terminalStatus: end.state.terminalStatus, lastSeq: end.state.lastSeq };
  return frame({ name: 'stream-end' }, data);
}
