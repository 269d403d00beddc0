import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../infra/telemetry/logger.js';
import { type Channel, channels } from './notifier.js';
import { retryWaitMs } from './retry-wait.js';

export type WaitEnd = 'notified' | 'timeout' | 'aborted';

/** Armed before the caller reads, so that what happens between the read and the wait is not missed. Close it on every path. */
export interface Waiter {
  /**
   * Waits for a wake-up since arming or since the last `wait` returned. `notified` only means: read again.
   *
   * @param timeoutMs at most this long.
   */
  wait(timeoutMs: number, signal?: AbortSignal): Promise<WaitEnd>;
  close(): void;
}

/** Stands for all keys; no key is written so. */
const anyKey = '*';
const pingIntervalMs = 10_000;
const pingTimeoutMs = 5_000;
const longestBackOffMs = 5_000;

/**
 * One dedicated connection per process that LISTENs. It reconnects for ever with back-off (each failure is logged) and wakes everyone
 * after it did, since what was said in between is lost.
 */
export class Listener {
  readonly #connectionString: string;
  readonly #logger: Logger;
  readonly #callbacks = new Map<string, Set<() => void>>();
  readonly #ended = new AbortController();
  #running: Promise<void> | undefined;
  #connected = false;

  constructor(connectionString: string, logger: Logger) {
    this.#connectionString = connectionString;
    this.#logger = logger;
  }

  /** Whether wake-ups arrive right now; a waiter polls more often while they do not. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Begins to listen in the background. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends listening and every wait (as `notified`, so that callers look around and see that the process ends). */
  async close(): Promise<void> {
    this.#ended.abort();
    await this.#running;
    this.#wakeAll();
  }

  /** Calls `callback` on each wake-up of `key` until the returned function is called. It must not throw. */
  subscribe(channel: Channel, key: string, callback: () => void): () => void {
    const name = `${channel} ${key}`;
    const callbacks = this.#callbacks.get(name) ?? new Set();
    callbacks.add(callback);
    this.#callbacks.set(name, callbacks);
    return () => {
      callbacks.delete(callback);
      if (callbacks.size === 0 && this.#callbacks.get(name) === callbacks) this.#callbacks.delete(name);
    };
  }

  /** As {@link subscribe}, for the wake-ups of every key of a channel. */
  subscribeAll(channel: Channel, callback: () => void): () => void {
    return this.subscribe(channel, anyKey, callback);
  }

  /** Begins to collect wake-ups of `key`. Arm, then read, then wait. */
  arm(channel: Channel, key: string): Waiter {
    let notified = false;
    let wake: (() => void) | undefined;
    const unsubscribe = this.subscribe(channel, key, () => {
      notified = true;
      wake?.();
    });
    return {
      close: unsubscribe,
      wait: (timeoutMs, signal) =>
        new Promise((resolve) => {
          const end = (result: WaitEnd) => {
            clearTimeout(timer);
            signal?.removeEventListener('abort', abort);
            wake = undefined;
            if (result === 'notified') notified = false;
            resolve(result);
          };
          const abort = () => end('aborted');
          const timer = setTimeout(() => end('timeout'), timeoutMs);
          wake = () => end('notified');
          if (signal?.aborted === true) abort();
          else if (notified) end('notified');
          else signal?.addEventListener('abort', abort, { once: true });
        }),
    };
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#ended.signal.aborted; ) {
      try {
        await this.#listenUntilBroken(() => {
          failures = 0;
        });
      } catch (error) {
        failures += 1;
        const waitMs = retryWaitMs(failures, longestBackOffMs);
        this.#logger.warn(
          { attempt: failures, waitMs: Math.round(waitMs), cause: error },
          'cannot listen for Postgres notifications; looks by time go on',
        );
        await this.#pause(waitMs);
      }
    }
  }

  /** Resolves when the listener is closed, rejects when the connection breaks. */
  async #listenUntilBroken(onConnected: () => void): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#connectionString,
      application_name: 'agentrun-listener',
      connectionTimeoutMillis: 2_000,
      query_timeout: pingTimeoutMs,
      keepAlive: true,
    });
    const broken = new Promise<never>((_, reject) => {
      client.on('error', reject);
      client.on('end', () => reject(new Error('the connection was closed')));
    });
    broken.catch(() => undefined);
    client.on('notification', (message) => {
      this.#wake(`${message.channel} ${message.payload ?? ''}`);
      this.#wake(`${message.channel} ${anyKey}`);
    });
    try {
      await client.connect();
      await client.query(channels.map((channel) => `listen ${channel}`).join('; '));
      this.#connected = true;
      onConnected();
      this.#wakeAll();
      while (!this.#ended.signal.aborted) {
        await Promise.race([this.#pause(pingIntervalMs), broken]);
        // A half-open connection is silent: without a question of ours it would never be noticed.
        if (!this.#ended.signal.aborted) await client.query('select 1');
      }
    } finally {
      this.#connected = false;
      client.removeAllListeners('notification');
      await this.#end(client);
    }
  }

  /** Closing says goodbye to the server, which on a dead network never answers. */
  async #end(client: pg.Client): Promise<void> {
    const goodbye = client
      .end()
      .catch((error: unknown) => this.#logger.debug({ cause: error }, 'closing the listener'));
    const limit = new AbortController();
    await Promise.race([goodbye, sleep(1_000, undefined, { signal: limit.signal }).catch(() => undefined)]);
    limit.abort();
  }

  async #pause(timeMs: number): Promise<void> {
    await sleep(timeMs, undefined, { signal: this.#ended.signal }).catch(() => undefined);
  }

  #wake(name: string): void {
    for (const callback of this.#callbacks.get(name) ?? []) callback();
  }

  #wakeAll(): void {
    for (const name of this.#callbacks.keys()) this.#wake(name);
  }
}
