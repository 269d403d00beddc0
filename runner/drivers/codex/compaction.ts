import { errorLine, pause } from '../../../client/index.js';
import type { ProducedEvent } from '../../../contract/events.js';
import type { DriverLog, TurnEnd } from '../driver.js';
import { JsonRpcError } from './json-rpc.js';

/** What a summary by the model may take. */
const limitMs = 120_000;
/** After an interrupt the compaction has this long to end. */
const interruptGraceMs = 5_000;

/**
 * One compaction of a thread. Codex 0.169 makes it a turn of its own: `turn/started`, an item `contextCompaction`, `turn/completed`
 * (`thread/compacted` is not sent any more).
 */
export class Compaction {
  readonly #request: (method: string, params: unknown) => Promise<unknown>;
  readonly #threadId: string;
  #turnId: string | null = null;
  #begin: () => void = () => undefined;
  readonly #begun = new Promise<void>((resolve) => {
    this.#begin = resolve;
  });
  #end: (status: TurnEnd['status'] | 'inProgress' | 'lost') => void = () => undefined;
  readonly #ended = new Promise<TurnEnd['status'] | 'inProgress' | 'lost'>((resolve) => {
    this.#end = resolve;
  });

  constructor(request: (method: string, params: unknown) => Promise<unknown>, threadId: string) {
    this.#request = request;
    this.#threadId = threadId;
  }

  /**
   * Compacts, at most 120 s, and answers the event that tells how it went; null when it did not begin. `over` is false when the compaction may be
   * running, or may begin still: a prompt would be taken into its turn.
   */
  async run(log: DriverLog): Promise<{ readonly event: ProducedEvent | null; readonly over: boolean }> {
    try {
      await this.#request('thread/compact/start', { threadId: this.#threadId });
    } catch (error) {
      log.warn(errorLine(error), 'the thread was not compacted');
      this.#end('lost');
      // A refusal is an answer; without one nobody knows whether it runs.
      return { event: null, over: error instanceof JsonRpcError };
    }
    const status = await Promise.race([this.#ended, pause(limitMs).then(() => 'too-long' as const)]);
    let over = true;
    if (status === 'too-long') {
      void this.interrupt(log);
      over = await Promise.race([this.#ended.then(() => true), pause(interruptGraceMs).then(() => false)]);
    }
    if (status !== 'completed') log.warn({ status }, 'the thread was not compacted');
    return { over, event: { type: 'backend_status', payload: { phase: 'thread-compaction', status } } };
  }

  /** Answers whether the agent took it, or whether there is nothing to interrupt any more. One that has not begun yet is waited for. */
  async interrupt(log: DriverLog): Promise<boolean> {
    await Promise.race([this.#begun, this.#ended]);
    if (this.#turnId === null) return true;
    try {
      await this.#request('turn/interrupt', { threadId: this.#threadId, turnId: this.#turnId });
      return true;
    } catch (error) {
      log.warn(errorLine(error), 'the compaction was not interrupted');
      return false;
    }
  }

  turnStarted(turnId: string): void {
    this.#turnId ??= turnId;
    this.#begin();
  }

  turnEnded(turnId: string, status: TurnEnd['status'] | 'inProgress'): void {
    if (this.#turnId === null || this.#turnId === turnId) this.#end(status);
  }

  /** The process has ended. */
  lost(): void {
    this.#end('lost');
  }
}
