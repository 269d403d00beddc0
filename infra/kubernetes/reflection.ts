import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { z } from 'zod';
import type { Logger } from '../telemetry/logger.js';
import { getJson, RefusedRequest, watchLines } from './raw-requests.js';

const pageSize = 500;
const listLimitMs = 20_000;
/** The server ends a watch in time; a connection that has gone mute is ended this much later. */
const watchMarginMs = 5_000;
const firstPauseMs = 200;
const longestPauseMs = 5_000;

const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()),
});
const lineSchema = z.object({ type: z.string(), object: z.unknown() });

/** One kind of object, as much of it as anybody looks at. */
export interface ReflectedKind<T> {
  /** For logs: `pods`. */
  readonly name: string;
  readonly path: string;
  readonly labelSelector?: string;
  /** How old what is held may be when the server forgot to tell a change, in milliseconds. */
  readonly resyncMs: number;
  /** Undefined: not looked at. */
  readonly parse: (object: unknown) => { readonly key: string; readonly value: T } | undefined;
}

/**
 * Holds what the cluster has of one kind: a list, then a watch from it on, and after {@link ReflectedKind.resyncMs} or any break the list again. Nothing that
 * was missed lasts longer than that. While the API server is away the last known state stays (its lease tells whether a runner lives). Only the parsed part
 * of each object is kept.
 */
export class Reflection<T> {
  readonly #config: KubeConfig;
  readonly #kind: ReflectedKind<T>;
  readonly #logger: Pick<Logger, 'debug' | 'info' | 'warn'>;
  readonly #onChange: (value: T | undefined, former: T | undefined) => void;
  readonly #stopping = new AbortController();
  readonly #objects = new Map<string, T>();
  readonly #listed: Promise<void>;
  #noteListed: () => void = () => undefined;
  #running: Promise<void> | undefined;
  #isListed = false;
  #isForbidden = false;
  #failures = 0;

  constructor(
    config: KubeConfig,
    kind: ReflectedKind<T>,
    logger: Pick<Logger, 'debug' | 'info' | 'warn'>,
    onChange: (value: T | undefined, former: T | undefined) => void,
  ) {
    this.#config = config;
    this.#kind = kind;
    this.#logger = logger;
    this.#onChange = onChange;
    this.#listed = new Promise((resolve) => {
      this.#noteListed = resolve;
    });
  }

  /** Begins to look in the background. */
  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** The first list has come. */
  get isListed(): boolean {
    return this.#isListed;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  /** Resolves when the first list has come, was refused, or `limitMs` is over. */
  async whenListed(limitMs: number): Promise<void> {
    if (this.#isListed || this.#isForbidden) return;
    const limit = new AbortController();
    await Promise.race([
      this.#listed,
      sleep(limitMs, undefined, { signal: limit.signal }).catch(() => undefined),
    ]);
    limit.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        const version = await this.#list();
        this.#noteRecovered();
        await this.#watch(version);
      } catch (error) {
        if (signal.aborted) return;
        this.#noteFailure(error);
      }
      // A watch that ends at once, again and again, must not become a storm of lists.
      const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(this.#failures, 10));
      await sleep(pauseMs * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
    }
  }

  /** Answers the version of the cluster's state that was listed. */
  async #list(): Promise<string> {
    const limit = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(listLimitMs)]);
    const found = new Map<string, T>();
    let next: string | undefined;
    for (;;) {
      const page = listSchema.parse(
        await getJson(
          this.#config,
          this.#kind.path,
          { labelSelector: this.#kind.labelSelector, limit: String(pageSize), continue: next },
          limit,
        ),
      );
      for (const item of page.items) {
        const parsed = this.#kind.parse(item);
        if (parsed !== undefined) found.set(parsed.key, parsed.value);
      }
      next = page.metadata.continue;
      if (next === undefined || next === '') {
        this.#replace(found);
        return page.metadata.resourceVersion;
      }
    }
  }

  #replace(found: ReadonlyMap<string, T>): void {
    for (const key of this.#objects.keys()) if (!found.has(key)) this.#set(key, undefined);
    for (const [key, value] of found) this.#set(key, value);
    this.#isListed = true;
    this.#noteListed();
  }

  async #watch(resourceVersion: string): Promise<void> {
    const { path, labelSelector, resyncMs } = this.#kind;
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(resyncMs + watchMarginMs)]);
    const timeoutSeconds = String(Math.max(1, Math.round(resyncMs / 1_000)));
    const lines = watchLines(this.#config, path, { labelSelector, resourceVersion, timeoutSeconds }, signal);
    for await (const line of lines) {
      const { type, object } = lineSchema.parse(line);
      // The server has forgotten the version: the next list knows more.
      if (type === 'ERROR') return;
      const parsed = this.#kind.parse(object);
      if (parsed !== undefined) this.#set(parsed.key, type === 'DELETED' ? undefined : parsed.value);
    }
  }

  #set(key: string, value: T | undefined): void {
    const former = this.#objects.get(key);
    if (value === undefined) this.#objects.delete(key);
    else this.#objects.set(key, value);
    if (value !== undefined || former !== undefined) this.#onChange(value, former);
  }

  #noteFailure(error: unknown): void {
    this.#failures += 1;
    if (error instanceof RefusedRequest && (error.status === 401 || error.status === 403)) {
      this.#isForbidden = true;
      this.#noteListed();
    }
    const about = {
      kind: this.#kind.name,
      failures: this.#failures,
      cause: error instanceof Error ? error.message : String(error),
    };
    if (this.#failures === 1 || this.#failures % 20 === 0)
      this.#logger.warn(about, 'the cluster cannot be watched');
  }

  #noteRecovered(): void {
    if (this.#failures > 0)
      this.#logger.info({ kind: this.#kind.name, failures: this.#failures }, 'the cluster is watched again');
    this.#failures = 0;
    this.#isForbidden = false;
  }
}
