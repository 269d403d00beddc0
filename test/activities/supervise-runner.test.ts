import { CancelledFailure } from '@temporalio/activity';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, describe, expect, it } from 'vitest';
import type { SupervisedAttempt } from '../../activities/index.js';
import { createRecordActivities } from '../../activities/records.js';
import { createSuperviseActivities } from '../../activities/supervise-runner.js';
import type { ProcessFate } from '../../domain/supervision.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { Notifier } from '../../store/notifier.js';
import { notePod } from '../../store/pod-notes.js';
import { createPool, type Pool } from '../../store/pool.js';
import { claimTurn, storeAttemptOutcome, storeTurn, turnSettings } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

/** A launcher that shows one runner, as the test sets it. */
class FakeRunner {
  fateNow: () => ProcessFate | Promise<ProcessFate> = () => ({ state: 'alive' });
  change: () => void = () => undefined;
  watchers = 0;

  async fate(): Promise<ProcessFate> {
    return this.fateNow();
  }

  watch(_jobName: string, onChange: () => void): () => void {
    this.change = onChange;
    this.watchers += 1;
    return () => {
      this.watchers -= 1;
    };
  }
}

const deaf = { subscribe: () => () => undefined };
const environments: MockActivityEnvironment[] = [];
afterEach(() => {
  for (const environment of environments.splice(0)) environment.cancel();
});

function supervise(
  runId: string,
  runner: FakeRunner,
  pool: Pool = database.pool,
  heartbeatDetails?: unknown,
) {
  const activities = createSuperviseActivities({ pool, listener: deaf, launcher: runner });
  const environment = new MockActivityEnvironment({ heartbeatTimeoutMs: 15_000, heartbeatDetails });
  environments.push(environment);
  const heartbeats: unknown[] = [];
  environment.on('heartbeat', (details: unknown) => heartbeats.push(details));
  const answer: Promise<SupervisedAttempt> = environment.run(() =>
    activities.superviseRunner({ runId, epoch: 1 }),
  );
  return { environment, heartbeats, answer };
}

async function claimedTurn(options: Parameters<typeof storeTurn>[1] = {}): Promise<string> {
  const { runId } = await storeTurn(database.pool, options);
  await claimTurn(database.pool, runId);
  return runId;
}

describe('superviseRunner', () => {
  it('answers at once when the launcher tells the end of the process, with the facts for a retry', async () => {
    const runId = await claimedTurn();
    const runner = new FakeRunner();
    const { answer, heartbeats } = supervise(runId, runner);
    await expect.poll(() => heartbeats.length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(heartbeats[0]).toMatchObject({
      phase: 'running',
      leaseExpiresAtMs: expect.any(Number),
      lastSeq: 0,
    });
    runner.fateNow = () => ({ state: 'gone', cause: 'oom-killed' });
    runner.change();
    expect(await answer).toEqual({
      verdict: { kind: 'runner-gone', begun: true, cause: 'oom-killed' },
      cancelRequested: false,
      retry: expect.objectContaining({ maxAttempts: 3, former: [] }),
    });
    expect(runner.watchers).toBe(0);
  });

  it('looks at the process first: an outcome that was stored before its end is not missed', async () => {
    const runId = await claimedTurn();
    const runner = new FakeRunner();
    const failureMessage = 'm'.repeat(5_000);
    runner.fateNow = async () => {
      await storeAttemptOutcome(database.pool, runId, {
        terminalStatus: 'failed',
        failureKind: 'provider-auth',
        failureMessage,
      });
      return { state: 'gone', cause: null };
    };
    const { verdict } = await supervise(runId, runner).answer;
    expect(verdict).toMatchObject({ kind: 'outcome', outcome: { failureKind: 'provider-auth' } });
    expect(JSON.stringify(verdict).length).toBeLessThan(700);
  });

  it.each<
    [string, { launcher: 'process' | 'external'; phase: string; fate: 'alive' | 'gone' | 'unknown' }, string]
  >([
    ['was given a launcher', { launcher: 'process', phase: 'creating', fate: 'unknown' }, 'launcher-given'],
    ['was launched', { launcher: 'process', phase: 'starting', fate: 'unknown' }, 'waits'],
    ['has a process', { launcher: 'process', phase: 'creating', fate: 'alive' }, 'waits'],
    [
      'waits for a runner from elsewhere',
      { launcher: 'external', phase: 'creating', fate: 'unknown' },
      'waits',
    ],
    [
      'waits for a runner from elsewhere, of which the launcher finds nothing',
      { launcher: 'external', phase: 'creating', fate: 'gone' },
      'waits',
    ],
  ])(
    'watched by order of 0.1.0, which names no launcher: an attempt that %s',
    async (_name, row, expected) => {
      const { runId } = await storeTurn(database.pool, { launcher: row.launcher });
      await database.pool.query('update runner_jobs set phase = $2 where run_id = $1', [runId, row.phase]);
      const runner = new FakeRunner();
      const fates = {
        alive: { state: 'alive' },
        gone: { state: 'gone', cause: null },
        unknown: { state: 'unknown' },
      } as const;
      runner.fateNow = () => fates[row.fate];
      const { answer, heartbeats } = supervise(runId, runner);
      const waits = expect.poll(() => heartbeats.length, { timeout: 10_000 }).toBeGreaterThan(0);
      answer.catch(() => undefined);
      expect(
        await Promise.race([answer.then(({ verdict }) => verdict.kind), waits.then(() => 'waits')]),
      ).toBe(expected);
    },
  );

  it('answers superseded for an attempt that was never written', async () => {
    const { verdict } = await supervise('run_none', new FakeRunner()).answer;
    expect(verdict).toEqual({ kind: 'superseded' });
  });

  it.each([
    ['counts the partition grace from the expiry of the lease', false],
    ['counts it from the first look after the store was away', true],
  ])('%s', async (_name, isAway) => {
    const runId = await claimedTurn({ policy: { partitionGraceMs: 60_000 } });
    await database.pool.query(`update leases set expires_at = now() - interval '1 hour' where run_id = $1`, [
      runId,
    ]);
    const nowhere = createPool({
      connectionString: 'postgres://nobody@127.0.0.1:1/none',
      applicationName: 'test',
      onError: () => undefined,
    });
    let queries = 0;
    const pool: Pool = new Proxy(database.pool, {
      get(target, name) {
        const own: unknown = Reflect.get(target, name, target);
        if (name !== 'query') return own;
        queries += 1;
        const db = isAway && queries <= 2 ? nowhere : target;
        return db.query.bind(db);
      },
    });
    const { answer, environment, heartbeats } = supervise(runId, new FakeRunner(), pool);
    if (isAway) {
      await expect
        .poll(() => heartbeats, { timeout: 15_000 })
        .toContainEqual(expect.objectContaining({ phase: 'lease-expired' }));
      expect(heartbeats[0]).toEqual({ phase: 'unavailable', failedLooks: 1 });
      environment.cancel();
      await expect(answer).rejects.toThrow(CancelledFailure);
    } else {
      expect((await answer).verdict).toEqual({ kind: 'lease-lost', begun: true });
    }
    await nowhere.end();
  });

  const expireLease = (runId: string) =>
    database.pool.query(`update leases set expires_at = now() - interval '1 hour' where run_id = $1`, [
      runId,
    ]);
  /** Postgres as it answers after the machine slept: its clock is ahead by what the test sets. */
  function sleeper() {
    const clock = { aheadMs: 0 };
    const pool: Pool = new Proxy(database.pool, {
      get(target, name) {
        const own: unknown = Reflect.get(target, name, target);
        if (name !== 'query') return own;
        return (text: string, values: unknown[]) =>
          target.query(
            text.replaceAll('clock_timestamp()', `clock_timestamp() + interval '${clock.aheadMs} ms'`),
            values,
          );
      },
    });
    return { pool, clock };
  }

  it.each([
    ['a sleep', 3_600_000, 'lease-expired'],
    ['no sleep', 0, null],
  ])('gives a runner the grace anew after %s', async (_name, sleptMs, phase) => {
    const runId = await claimedTurn({ policy: { partitionGraceMs: 60_000, idleTimeoutMs: 0 } });
    const { pool, clock } = sleeper();
    const { answer, environment, heartbeats } = supervise(runId, new FakeRunner(), pool);
    await expect.poll(() => heartbeats.length, { timeout: 10_000 }).toBeGreaterThan(0);
    clock.aheadMs = sleptMs;
    await expireLease(runId);
    if (phase === null) {
      expect((await answer).verdict).toEqual({ kind: 'lease-lost', begun: true });
    } else {
      await expect
        .poll(() => heartbeats, { timeout: 15_000 })
        .toContainEqual(expect.objectContaining({ phase }));
      environment.cancel();
      await expect(answer).rejects.toThrow(CancelledFailure);
    }
  });

  it.each([
    ['looked long ago', { lookedAtMs: -120_000, lookingSinceMs: null }, true],
    ['looked just now', { lookedAtMs: -15_000, lookingSinceMs: null }, false],
    ['had slept and began to look again', { lookedAtMs: -1_000, lookingSinceMs: -5_000 }, true],
    ['had slept long ago', { lookedAtMs: -1_000, lookingSinceMs: -120_000 }, false],
  ])('takes over from a watch that %s', async (_name, former, waits) => {
    const runId = await claimedTurn({ policy: { partitionGraceMs: 60_000 } });
    await expireLease(runId);
    const ago = (ms: number | null) => (ms === null ? null : Date.now() + ms);
    const details = { lookedAtMs: ago(former.lookedAtMs), lookingSinceMs: ago(former.lookingSinceMs) };
    const { answer, environment, heartbeats } = supervise(runId, new FakeRunner(), database.pool, details);
    if (waits) {
      await expect.poll(() => heartbeats.length, { timeout: 10_000 }).toBeGreaterThan(0);
      expect(heartbeats[0]).toMatchObject({ phase: 'lease-expired', lookingSinceMs: expect.any(Number) });
      environment.cancel();
      await expect(answer).rejects.toThrow(CancelledFailure);
    } else {
      expect((await answer).verdict).toEqual({ kind: 'lease-lost', begun: true });
    }
  });

  it('ends when it is cancelled, and leaves nothing subscribed', async () => {
    const runId = await claimedTurn();
    const runner = new FakeRunner();
    const { answer, environment, heartbeats } = supervise(runId, runner);
    await expect.poll(() => heartbeats.length, { timeout: 10_000 }).toBeGreaterThan(0);
    environment.cancel();
    await expect(answer).rejects.toThrow(CancelledFailure);
    expect(runner.watchers).toBe(0);
  });
});

describe('a record step that Postgres refuses for good', () => {
  it('fails typed and is not tried again', async () => {
    const notifier = new Notifier(database.pool, createLogger({ name: 'test', level: 'silent' }));
    const records = createRecordActivities({ pool: database.pool, notifier, settings: turnSettings });
    const { runId } = await storeTurn(database.pool);
    const end = { terminalStatus: 'failed', failureKind: null, failureMessage: 'a nul \u0000 byte' } as const;
    await expect(
      new MockActivityEnvironment().run(() => records.finishTurn({ runId, end })),
    ).rejects.toMatchObject({
      name: 'ApplicationFailure',
      type: 'infra-failed',
      nonRetryable: true,
      message: expect.stringMatching(/^Postgres refused finishTurn \(SQLSTATE 22/),
    });
    await notifier.close();
  });

  it('notes how the pod stands and gives it time to claim for as long as it waits', async () => {
    const { runId } = await storeTurn(database.pool);
    const row = async () => {
      const found = await database.pool.query<Record<string, unknown>>(
        `select j.phase, j.pod_wait, j.pod_message, j.node_name, a.claim_deadline_at > now() + interval '1 minute' as has_time
           from runner_jobs j join attempts a using (run_id, epoch) where run_id = $1`,
        [runId],
      );
      return found.rows[0];
    };
    const late = () =>
      database.pool.query(
        `update attempts set claim_deadline_at = now() - interval '1 minute' where run_id = $1`,
        [runId],
      );
    await late();
    const runner = new FakeRunner();
    runner.fateNow = () => ({ state: 'waiting', for: 'place', sinceMs: 1_000, message: '0/3 nodes' });
    const { answer } = supervise(runId, runner);
    await expect.poll(row, { timeout: 10_000 }).toEqual({
      phase: 'pending',
      pod_wait: 'place',
      pod_message: '0/3 nodes',
      node_name: null,
      has_time: true,
    });
    await late();
    runner.fateNow = () => ({ state: 'alive', startedAtMs: Date.now(), node: 'node1' });
    runner.change();
    await expect
      .poll(row, { timeout: 10_000 })
      .toEqual({ phase: 'starting', pod_wait: null, pod_message: null, node_name: 'node1', has_time: true });
    await late();
    runner.fateNow = () => ({
      state: 'alive',
      startedAtMs: Date.now() - 600_000,
      node: 'node1',
      lostNode: 'node1',
    });
    runner.change();
    expect((await answer).verdict).toEqual({ kind: 'never-claimed' });
    expect(await row()).toMatchObject({ pod_message: 'node node1 does not answer', has_time: false });
  });

  it('leaves a claimed attempt its phase, and an attempt that is not current alone', async () => {
    const runId = await claimedTurn();
    await database.pool.query(`update runner_jobs set phase = 'running' where run_id = $1`, [runId]);
    const runner = new FakeRunner();
    runner.fateNow = () => ({ state: 'alive', startedAtMs: 1_000, node: 'node1' });
    const { heartbeats, answer } = supervise(runId, runner);
    await expect.poll(() => heartbeats.length, { timeout: 10_000 }).toBeGreaterThan(0);
    const found = await database.pool.query(
      'select phase, node_name, pod_since from runner_jobs where run_id = $1',
      [runId],
    );
    expect(found.rows).toEqual([{ phase: 'running', node_name: 'node1', pod_since: new Date(1_000) }]);
    await notePod(
      database.pool,
      { runId, epoch: 7 },
      { wait: 'image', message: 'x', sinceMs: 1, nodeName: null },
    );
    await database.pool.query('update runs set current_epoch = 7 where run_id = $1', [runId]);
    await notePod(
      database.pool,
      { runId, epoch: 1 },
      { wait: 'image', message: 'x', sinceMs: 1, nodeName: null },
    );
    const after = await database.pool.query('select pod_wait from runner_jobs where run_id = $1', [runId]);
    expect(after.rows).toEqual([{ pod_wait: null }]);
    expect((await answer).verdict.kind).toBe('superseded');
  });
});
