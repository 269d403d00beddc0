import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ProcessFate } from '../../domain/supervision.js';
import type { Launcher } from '../../infra/launchers/launcher.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { RunnerSweep } from '../../worker/runner-sweep.js';
import { storeRun, storeRunner, storeSession } from '../support/list-rows.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';

let postgres: TestPostgres;
let database: TestDatabase;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(async () => {
  await postgres?.stop();
});

/** Knows the fates that it is told; every other runner is of another machine. */
class FatesLauncher implements Launcher {
  readonly kind = 'process';
  readonly stopped: string[] = [];
  readonly stillEnding = new Set<string>();
  readonly #fates: Readonly<Record<string, 'alive' | 'gone' | 'unknown'>>;

  constructor(fates: Readonly<Record<string, 'alive' | 'gone' | 'unknown'>>) {
    this.#fates = fates;
  }

  async launch(): Promise<void> {
    throw new Error('nothing is launched here');
  }
  async retire(jobName: string): Promise<boolean> {
    if (this.stillEnding.has(jobName)) return false;
    await this.stop(jobName);
    return true;
  }

  diagnostics(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async stop(jobName: string): Promise<void> {
    this.stopped.push(jobName);
  }
  async fate(jobName: string): Promise<ProcessFate> {
    const state = this.#fates[jobName] ?? 'unknown';
    return state === 'gone' ? { state, cause: null } : { state };
  }
  watch() {
    return () => undefined;
  }
}

async function sweepOver(launcher: Launcher): Promise<RunnerSweep> {
  database = await postgres.newDatabase();
  return new RunnerSweep({
    pool: database.pool,
    launcher,
    logger: createLogger({ name: 'test', level: 'silent' }),
  });
}
async function states(): Promise<Record<string, string>> {
  const { rows } = await database.pool.query<{ job_name: string; state: string }>(
    'select job_name, state from runners',
  );
  return Object.fromEntries(rows.map((row) => [row.job_name, row.state]));
}

describe('the sweep of runners', () => {
  it('finds those gone that were told to close or died idle, and nobody else', async () => {
    const launcher = new FatesLauncher({
      closed: 'gone',
      closes: 'alive',
      'idle-dead': 'gone',
      'idle-alive': 'alive',
      'idle-new': 'gone',
      serves: 'gone',
      launching: 'gone',
    });
    const sweep = await sweepOver(launcher);
    const { pool } = database;
    const sessionId = await storeSession(pool);
    const rows = {
      closed: 'closing',
      closes: 'closing',
      elsewhere: 'closing',
      'idle-dead': 'idle',
      'idle-alive': 'idle',
      'idle-new': 'idle',
      serves: 'serving',
      launching: 'launching',
    };
    for (const [jobName, state] of Object.entries(rows))
      await storeRunner(pool, sessionId, { jobName, state });
    await pool.query(
      "update runners set updated_at = now() - interval '10 minutes' where job_name <> 'idle-new'",
    );
    expect(await sweep.look()).toEqual(['closed', 'idle-dead']);
    expect(launcher.stopped).toEqual(['closed', 'idle-dead']);
    expect(await states()).toEqual({ ...rows, closed: 'gone', 'idle-dead': 'gone' });
  });

  it('takes none for gone of which something is still ending', async () => {
    const launcher = new FatesLauncher({ closed: 'gone' });
    launcher.stillEnding.add('closed');
    const sweep = await sweepOver(launcher);
    await storeRunner(database.pool, await storeSession(database.pool), {
      jobName: 'closed',
      state: 'closing',
    });
    expect(await sweep.look()).toEqual([]);
    expect(await states()).toEqual({ closed: 'closing' });
    launcher.stillEnding.clear();
    expect(await sweep.look()).toEqual(['closed']);
  });

  it('ends those that their turn left behind', async () => {
    const launcher = new FatesLauncher({ left: 'alive', works: 'alive' });
    const sweep = await sweepOver(launcher);
    const { pool } = database;
    const sessionId = await storeSession(pool);
    for (const [jobName, status] of [
      ['left', 'failed'],
      ['works', null],
    ] as const) {
      await storeRunner(pool, sessionId, { jobName, state: 'serving' });
      const runId = await storeRun(pool, sessionId);
      await pool.query(
        `insert into runner_jobs (job_id, run_id, epoch, job_name, launcher) values ('job_' || $1, $2, 1, $1, 'process')`,
        [jobName, runId],
      );
      await pool.query('update runs set terminal_status = $2 where run_id = $1', [runId, status]);
    }
    expect(await sweep.look()).toEqual([]);
    await pool.query("update runners set updated_at = now() - interval '10 minutes'");
    expect(await sweep.look()).toEqual(['left']);
    expect(launcher.stopped).toEqual(['left']);
    expect(await states()).toEqual({ left: 'gone', works: 'serving' });
  });

  it('goes on after a hundred that stay, and begins anew behind the last', async () => {
    const sweep = await sweepOver(new FatesLauncher({ 'z-last': 'gone' }));
    const sessionId = await storeSession(database.pool);
    for (let index = 0; index < 100; index += 1)
      await storeRunner(database.pool, sessionId, { jobName: `a-${index}`, state: 'closing' });
    await storeRunner(database.pool, sessionId, { jobName: 'z-last', state: 'closing' });
    expect(await sweep.look()).toEqual([]);
    expect(await sweep.look()).toEqual(['z-last']);
    await database.pool.query("update runners set state = 'closing' where job_name = 'z-last'");
    expect(await sweep.look()).toEqual([]);
    expect(await sweep.look()).toEqual(['z-last']);
  });

  it('ends at once', async () => {
    const sweep = await sweepOver(new FatesLauncher({}));
    sweep.start();
    await sweep.stop();
  });
});
