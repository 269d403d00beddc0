import { ApiError, backoffMs, type ClientLog, errorLine, pause } from '../../client/index.js';
import { isFinalRefusal } from './api-refusals.js';

const retryDelays = { baseDelayMs: 200, maxDelayMs: 5_000 };

/**
 * Tells the API which commands the agent has taken, one after another in their order. Repeated while the API is away, for as long as the attempt
 * lives: an acknowledgement that is lost makes a taken message look pending.
 */
export class Acknowledgements {
  readonly #send: (commandId: string) => Promise<void>;
  readonly #log: ClientLog;
  readonly #stopping = new AbortController();
  readonly #known = new Set<string>();
  #last: Promise<void> = Promise.resolve();

  constructor(options: { readonly send: (commandId: string) => Promise<void>; readonly log: ClientLog }) {
    this.#send = options.send;
    this.#log = options.log;
  }

  add(commandId: string): void {
    if (this.#known.has(commandId)) return;
    this.#known.add(commandId);
    this.#last = this.#last.then(() => this.#deliver(commandId));
  }

  /** Resolves when all are told, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const waited = new AbortController();
    await Promise.race([this.#last, pause(timeoutMs, waited.signal)]);
    waited.abort();
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #deliver(commandId: string): Promise<void> {
    const { signal } = this.#stopping;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        return await this.#send(commandId);
      } catch (error) {
        const delayMs = backoffMs(
          retryDelays,
          attempt,
          error instanceof ApiError ? error.retryAfterSeconds : undefined,
        );
        this.#log.warn(
          { commandId, attempt, delayMs, ...errorLine(error) },
          'a command was not acknowledged',
        );
        if (isFinalRefusal(error)) return;
        await pause(delayMs, signal);
      }
    }
  }
}
