import { errorLine, pause } from '../../../client/index.js';
import type { ProducedEvent } from '../../../contract/events.js';
import type { DriverLog, TurnEnd } from '../driver.js';

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
  #end: (status: TurnEnd['status'] | 'inProgress' | 'lost') => void = () => undefined;
  readonly #ended = new Promise<TurnEnd['status'] | 'inProgress' | 'lost'>((resolve) => {
    this.#end = resolve;
  });

  constructor(request: (method: string, params: unknown) => Promise<unknown>, threadId: string) {
    this.#request = request;
    this.#threadId = threadId;
  }

  /**
   * Compacts, at most 120 s, and answers the event that tells how it went. `over` is false when the compaction may still be running: a prompt would
   * be taken into its turn.
   *
   * @throws JsonRpcError, JsonRpcConnectionError when it did not begin.
   */
  async run(log: DriverLog): Promise<{ readonly event: ProducedEvent; readonly over: boolean }> {
    await this.#request('thread/compact/start', { threadId: this.#threadId });
    const status = await Promise.race([this.#ended, pause(limitMs).then(() => 'too-long' as const)]);
    let over = true;
    if (status === 'too-long') {
      await this.interrupt().catch((error: unknown) => {
        log.warn(errorLine(error), 'the compaction was not interrupted');
      });
      over = await Promise.race([this.#ended.then(() => true), pause(interruptGraceMs).then(() => false)]);
    }
    if (status !== 'completed') log.warn({ status }, 'the thread was not compacted');
    return { over, event: { type: 'backend_status', payload: { phase: 'thread-compaction', status } } };
  }

  async interrupt(): Promise<void> {
    if (this.#turnId === null) return;
    await this.#request('turn/interrupt', { threadId: this.#threadId, turnId: this.#turnId });
  }

  turnStarted(turnId: string): void {
    this.#turnId ??= turnId;
  }

  turnEnded(turnId: string, status: TurnEnd['status'] | 'inProgress'): void {
    if (this.#turnId === null || this.#turnId === turnId) this.#end(status);
  }

  /** The process has ended. */
  lost(): void {
    this.#end('lost');
  }
}
