import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../infra/telemetry/logger.js';
import { Listener } from '../../store/listener.js';
import { Notifier } from '../../store/notifier.js';
import { createPool } from '../../store/pool.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';

const logger = createLogger({ name: 'test', level: 'silent' });
let postgres: TestPostgres;
let database: TestDatabase;
let listener: Listener;
let notifier: Notifier;
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  listener = new Listener(database.url, logger);
  notifier = new Notifier(database.pool, logger);
  listener.start();
  await untilConnected();
});
afterAll(async () => {
  await notifier.close();
  await listener.close();
  await postgres.stop();
});

async function untilConnected(): Promise<void> {
  for (let round = 0; !listener.connected; round += 1) {
    if (round > 200) throw new Error('the listener does not connect');
    await sleep(25);
  }
}

describe('a wake-up', () => {
  it('that comes between arming and waiting is not missed, and is told once', async () => {
    const waiter = listener.arm('agentrun_run', 'run_1');
    notifier.notify('agentrun_run', 'run_1');
    await sleep(150);
    expect(await waiter.wait(5_000)).toBe('notified');
    expect(await waiter.wait(50)).toBe('timeout');
    waiter.close();
  });

  it('reaches only who waits for its key, on its channel', async () => {
    const mine = listener.arm('agentrun_run', 'run_2');
    const others = [listener.arm('agentrun_run', 'run_3'), listener.arm('agentrun_runner', 'run_2')];
    notifier.notify('agentrun_run', 'run_2');
    expect(await mine.wait(2_000)).toBe('notified');
    expect(await Promise.all(others.map((waiter) => waiter.wait(50)))).toEqual(['timeout', 'timeout']);
    for (const waiter of [mine, ...others]) waiter.close();
  });

  it('ends a wait early when its signal aborts', async () => {
    const waiter = listener.arm('agentrun_run', 'run_4');
    expect(await waiter.wait(5_000, AbortSignal.timeout(20))).toBe('aborted');
    expect(await waiter.wait(5_000, AbortSignal.abort())).toBe('aborted');
    waiter.close();
  });

  it('is sent once per tick however often it is asked for', async () => {
    let heard = 0;
    const unsubscribe = listener.subscribe('agentrun_run', 'run_5', () => {
      heard += 1;
    });
    for (let index = 0; index < 100; index += 1) notifier.notify('agentrun_run', 'run_5');
    await notifier.close();
    await sleep(100);
    unsubscribe();
    expect(heard).toBe(1);
  });

  it('comes to everyone after a reconnect, and again from then on', async () => {
    const waiter = listener.arm('agentrun_run', 'run_6');
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentrun-listener' and datname = current_database()`,
    );
    expect(await waiter.wait(5_000)).toBe('notified');
    await untilConnected();
    notifier.notify('agentrun_run', 'run_6');
    expect(await waiter.wait(2_000)).toBe('notified');
    waiter.close();
  });

  it('is given up after a few tries when Postgres does not take it', async () => {
    const pool = createPool({
      connectionString: 'postgres://nobody@127.0.0.1:1/none',
      applicationName: 'test',
      onError: () => undefined,
    });
    const lost = new Notifier(pool, logger);
    lost.notify('agentrun_run', 'run_7');
    await lost.close();
    await pool.end();
  });
});
