import type { Logger } from '../infra/telemetry/logger.js';

interface RepeatedLooksOptions {
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** What fails, as `looking for runners that are gone`, and the same behind "cannot". */
  readonly words: { readonly doing: string; readonly notDo: string };
  /** The whole of the work, until `signal` is aborted: pauses, and looks through `safely`. */
  run(signal: AbortSignal): Promise<void>;
}

/** Work of a worker that looks at something again and again in the background, outlives what it looks at, and says once that it cannot. */
export class RepeatedLooks {
  readonly #options: RepeatedLooksOptions;
  readonly #stopping = new AbortController();
  #hasFailed = false;
  #running: Promise<void> | undefined;

  constructor(options: RepeatedLooksOptions) {
    this.#options = options;
  }

  /** Aborted by {@link stop}. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Begins to look in the background. */
  start(): void {
    this.#running ??= this.#options.run(this.signal);
  }

  /** Resolves when the look that is under way has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Looks once; undefined when that failed. */
  async safely<T>(look: () => Promise<T>): Promise<T | undefined> {
    const { logger, words } = this.#options;
    try {
      const found = await look();
      if (this.#hasFailed) logger.info(`${words.doing} works again`);
      this.#hasFailed = false;
      return found;
    } catch (error) {
      // Postgres or Temporal may be away for hours: said once.
      if (!this.#hasFailed) logger.warn({ cause: error }, `cannot ${words.notDo}; goes on trying`);
      this.#hasFailed = true;
      return undefined;
    }
  }
}
