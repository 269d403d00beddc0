import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../infra/telemetry/logger.js';
import type { Pool } from './pool.js';

/**
 * `agentrun_run`: anything about the run changed, key is the run id. `agentrun_attempt`: command, claim, outcome, cancel or finish, key is the run id;
 * for the supervising activity and the runner's wait for commands, which must not be woken by every event. `agentrun_runner`: hand-over or close, key is the job name.
 * `agentrun_session`: a turn of the session has begun, or it was archived, taken back or deleted; key is the session id. `agentrun_delta`: pieces of text of a run,
 * key is the run id. `agentrun_webhook`: something is to be delivered, key is `due`.
 */
export const channels = [
  'agentrun_run',
  'agentrun_attempt',
  'agentrun_runner',
  'agentrun_session',
  'agentrun_delta',
  'agentrun_webhook',
] as const;
export type Channel = (typeof channels)[number];

const attemptsPerFlush = 4;
const firstRetryMs = 50;
const largestStatement = 500;
/** Between two statements: a stream of events is no stream of statements. What comes after a quiet moment is said at once. */
const pauseMs = 10;
/** A wake-up need not outlive a crash: no commit of it waits for the disk, before or after those of events. */
const send = {
  name: 'send-wake-ups',
  text: `select pg_notify(channel, key), set_config('synchronous_commit', 'off', true)
    from unnest($1::text[], $2::text[]) as w(channel, key)`,
};

/**
 * Sends wake-ups, one per process (architecture.md 6): called after the commit, it collects what is to be said and says each thing
 * once, in one statement per {@link pauseMs}. A wake-up that cannot be sent is dropped with a log line: every waiter also polls.
 */
export class Notifier {
  readonly #pool: Pool;
  readonly #logger: Logger;
  #pending = new Map<string, { channel: Channel; key: string }>();
  #flushing: Promise<void> | undefined;

  constructor(pool: Pool, logger: Logger) {
    this.#pool = pool;
    this.#logger = logger;
  }

  /** Wakes who waits for `key`; returns at once. */
  notify(channel: Channel, key: string): void {
    this.#pending.set(`${channel} ${key}`, { channel, key });
    this.#flushing ??= this.#flushAll();
  }

  /** Waits until all that was handed in is sent or given up. */
  async close(): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing;
  }

  async #flushAll(): Promise<void> {
    while (this.#pending.size > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      const batch = [...this.#pending.values()].slice(0, largestStatement);
      for (const { channel, key } of batch) this.#pending.delete(`${channel} ${key}`);
      await this.#send(batch);
      await sleep(pauseMs);
    }
    this.#flushing = undefined;
  }

  async #send(batch: readonly { channel: Channel; key: string }[]): Promise<void> {
    for (let attempt = 1; attempt <= attemptsPerFlush; attempt += 1) {
      try {
        await this.#pool.query({
          ...send,
          values: [batch.map((wakeUp) => wakeUp.channel), batch.map((wakeUp) => wakeUp.key)],
        });
        return;
      } catch (error) {
        const last = attempt === attemptsPerFlush;
        this.#logger.warn({ attempt, count: batch.length, dropped: last, cause: error }, 'wake-ups not sent');
        if (!last) await sleep(firstRetryMs * 2 ** attempt * (0.5 + Math.random()));
      }
    }
  }
}
