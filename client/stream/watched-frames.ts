import type { StreamFrame } from './open-stream.js';

/** What a watcher tells: events, pieces of text that is still written, and what is missing. */
export type WatchedFrame<Frame extends StreamFrame> = Extract<
  Frame,
  { readonly frame: 'event' | 'delta' | 'gap' }
>;

/** All that a watcher has seen, for those who come later. Pieces of a text are dropped when the event with the whole of it has come. */
export class WatchedFrames<Frame extends StreamFrame> {
  readonly #frames: WatchedFrame<Frame>[] = [];
  readonly #pieces = new Map<string, WatchedFrame<Frame>[]>();
  readonly #terminal = new Map<string, string>();

  add(frame: WatchedFrame<Frame>): void {
    const any: StreamFrame = frame;
    if (any.frame === 'delta') {
      const { itemId, offset } = any.data;
      const before = offset === 0 ? [] : (this.#pieces.get(itemId) ?? []);
      before.push(frame);
      this.#pieces.set(itemId, before);
      return;
    }
    this.#frames.push(frame);
    if (any.frame !== 'event') return;
    const { type, runId, payload } = any.data;
    if (typeof payload.itemId === 'string') this.#pieces.delete(payload.itemId);
    if (type !== 'terminal_status') return;
    this.#pieces.clear();
    if (typeof payload.terminalStatus === 'string' && !this.#terminal.has(runId))
      this.#terminal.set(runId, payload.terminalStatus);
  }

  /** In order, the texts that are still written last. */
  all(): WatchedFrame<Frame>[] {
    return [...this.#frames, ...[...this.#pieces.values()].flat()];
  }

  /** What the first terminal event of a run says. */
  terminalStatusOf(runId: string): string | undefined {
    return this.#terminal.get(runId);
  }
}
