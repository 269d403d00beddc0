import { ApiError, backoffMs, type ClientLog, errorLine, pause } from '../../client/index.js';
import type { CommandRecord } from '../../contract/commands.js';
import { isFencing } from './api-refusals.js';
import type { CommandPage } from './manager-api.js';

const retryDelays = { baseDelayMs: 200, maxDelayMs: 5_000 };
/** A poll that comes back empty sooner than this is a server that does not wait. */
const shortestPollMs = 100;

export interface CommandFeedOptions {
  readonly poll: (afterSeq: number, signal: AbortSignal) => Promise<CommandPage>;
  readonly afterSeq: number;
  readonly onCommand: (command: CommandRecord) => void;
  readonly onCancel: (reason: string | null, deadlineMs: number | null) => void;
  readonly onWatched: (watched: boolean) => void;
  readonly onFenced: (reason: string) => void;
  readonly log: ClientLog;
}

/** The runner's long poll for commands and the cancel request of its run (architecture.md 5), until stopped. */
export class CommandFeed {
  readonly #options: CommandFeedOptions;
  readonly #stopping = new AbortController();

  constructor(options: CommandFeedOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#loop();
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #loop(): Promise<void> {
    const { poll, onCommand, onCancel, onWatched, onFenced, log } = this.#options;
    const { signal } = this.#stopping;
    let afterSeq = this.#options.afterSeq;
    for (let failures = 0; !signal.aborted; ) {
      const startedAt = performance.now();
      try {
        const page = await poll(afterSeq, signal);
        if (signal.aborted) return;
        failures = 0;
        onWatched(page.watched);
        for (const command of page.items) {
          afterSeq = Math.max(afterSeq, command.seq);
          onCommand(command);
        }
        // After a cancel or the end of the run every poll would come back at once, and no command can matter.
        if (page.cancelRequested) return onCancel(page.cancelReason, page.cancelDeadlineMs);
        if (!page.open) return;
        if (page.items.length === 0 && performance.now() - startedAt < shortestPollMs)
          await pause(shortestPollMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        if (isFencing(error)) return onFenced(`commands: ${error.failureKind}`);
        const delayMs = backoffMs(
          retryDelays,
          failures,
          error instanceof ApiError ? error.retryAfterSeconds : undefined,
        );
        log.warn({ attempt: failures, delayMs, ...errorLine(error) }, 'commands cannot be read');
        await pause(delayMs + 50, signal);
      }
    }
  }
}
