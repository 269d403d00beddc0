import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CancelledFailure } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRunnerActivities } from '../../activities/runners.js';
import { createQueueTaskSchema } from '../../contract/queue.js';
import { mainTaskQueue } from '../../domain/workflow-ids.js';
import { type Launcher, LaunchRefusedError } from '../../infra/launchers/launcher.js';
import { sessionFolders } from '../../infra/launchers/local-folders.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { jobNameOf } from '../../store/attempts.js';
import { Notifier } from '../../store/notifier.js';
import { dispatchTask, followTask } from '../../store/queue-task-steps.js';
import { createQueueTask } from '../../store/queue-tasks.js';
import { storageDataDir } from '../support/fake-storage.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { storeTurn } from '../support/turn-rows.js';
import { FakeWorld } from '../workflows/fake-activities.js';
import { Harness } from '../workflows/harness.js';

let postgres: TestPostgres;
let database: TestDatabase;
let harness: Harness;
let notifier: Notifier;
const storage = new DirectoryStorage(storageDataDir());
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  notifier = new Notifier(database.pool, createLogger({ name: 'test', level: 'silent' }));
  harness = await Harness.start();
});
afterAll(async () => {
  await notifier?.close();
  await harness?.stop();
  await postgres?.stop();
});

/** Notes what it is asked for; `onLaunch` and `onStop` are what happens meanwhile. */
class FakeLauncher implements Launcher {
  readonly kind = 'process';
  readonly calls: string[] = [];
  seen: { readonly [name: string]: string } | undefined = undefined;
  onLaunch: () => Promise<void> = async () => undefined;
  onStop: (jobName: string) => Promise<void> = async () => undefined;

  async launch(): Promise<void> {
    this.calls.push('launch');
    await this.onLaunch();
  }
  async retire(jobName: string): Promise<boolean> {
    await this.stop(jobName);
    return true;
  }
  async diagnostics() {
    this.calls.push('diagnostics');
    return this.seen;
  }
  async stop(jobName: string): Promise<void> {
    this.calls.push(`stop ${jobName}`);
    await this.onStop(jobName);
  }
  async fate() {
    return { state: 'unknown' } as const;
  }
  watch() {
    return () => undefined;
  }
}

const activitiesOver = (launcher: Launcher) =>
  createRunnerActivities({
    pool: database.pool,
    notifier,
    launcher,
    storage,
    client: harness.client,
    mintLaunchToken: async () => 'token',
  });

describe('launchRunner', () => {
  /** A turn whose session still has runners of these names. */
  async function turnBehind(...jobNames: string[]): Promise<string> {
    const { runId, sessionId } = await storeTurn(database.pool);
    for (const jobName of jobNames) {
      await database.pool.query(
        `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, idle_timeout_ms, expires_at)
         values ($1, 'acme', $2, 'codex', 'process', 'f', 'closing', 0, now() + interval '1 day')`,
        [jobName, sessionId],
      );
    }
    return runId;
  }

  it('proves the other runners of the session gone first', async () => {
    const launcher = new FakeLauncher();
    const runId = await turnBehind('a1', 'a2');
    await new MockActivityEnvironment().run(() => activitiesOver(launcher).launchRunner({ runId, epoch: 1 }));
    expect(launcher.calls.filter((call) => call !== 'diagnostics').toSorted()).toEqual([
      'launch',
      'stop a1',
      'stop a2',
    ]);
    expect(launcher.calls.at(-1)).toBe('launch');
  });

  it.each([['b1'], ['b1', 'b2']])(
    'ends and launches nothing once its attempt is not current: %j',
    async (...others) => {
      const launcher = new FakeLauncher();
      const runId = await turnBehind(...others);
      launcher.onStop = async () => {
        await database.pool.query('update runs set current_epoch = 2 where run_id = $1', [runId]);
      };
      await new MockActivityEnvironment().run(() =>
        activitiesOver(launcher).launchRunner({ runId, epoch: 1 }),
      );
      expect(launcher.calls).toEqual(['diagnostics', expect.stringMatching(/^stop b/)]);
      await database.pool.query("delete from runners where job_name like 'b%'");
    },
  );

  it('ends and launches nothing once it is cancelled', async () => {
    const launcher = new FakeLauncher();
    const runId = await turnBehind('c1', 'c2');
    const environment = new MockActivityEnvironment();
    launcher.onStop = async () => environment.cancel();
    const launched = environment.run(() => activitiesOver(launcher).launchRunner({ runId, epoch: 1 }));
    await expect(launched).rejects.toThrow(CancelledFailure);
    expect(launcher.calls.filter((call) => call.startsWith('stop'))).toHaveLength(1);
    expect(launcher.calls).not.toContain('launch');
  });
});

describe('launchRunner and the files of the session', () => {
  const launch = async (launcher: Launcher, runId: string): Promise<void> => {
    await new MockActivityEnvironment().run(() => activitiesOver(launcher).launchRunner({ runId, epoch: 1 }));
  };
  const filesOf = (sessionId: string) => join(storageDataDir(), 'sessions', sessionId);
  async function phaseOf(sessionId: string): Promise<string | undefined> {
    const { rows } = await database.pool.query<{ phase: string }>(
      'select storage_pvc_phase as phase from sessions where session_id = $1',
      [sessionId],
    );
    return rows[0]?.phase;
  }

  it('fails the attempt when files that were there are gone, and goes on when they are back', async () => {
    const launcher = new FakeLauncher();
    const { runId, sessionId } = await storeTurn(database.pool);
    await database.pool.query(
      `update sessions set storage_kind = 'pvc', storage_pvc_phase = 'Bound' where session_id = $1`,
      [sessionId],
    );
    await database.pool.query(
      `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, runner_id, idle_timeout_ms, expires_at)
       values ($1, 'acme', $2, 'codex', 'process', 'f', 'gone', $1, 0, now())`,
      [`former-${sessionId}`, sessionId],
    );
    await expect(launch(launcher, runId)).rejects.toMatchObject({
      type: 'storage-unavailable',
      nonRetryable: true,
    });
    expect(launcher.calls).not.toContain('launch');
    expect(await phaseOf(sessionId)).toBe('Lost');
    await storage.ensure(sessionId);
    await launch(launcher, runId);
    expect(launcher.calls).toContain('launch');
    expect(await phaseOf(sessionId)).toBe('Bound');
  });

  it.each([
    ['evicted', `update sessions set storage_kind = 'evicted' where session_id = $1`],
    ['deleted', `update sessions set storage_kind = 'evicted', deleted_at = now() where session_id = $1`],
  ])('takes away again what it made after the session was %s', async (_name, removal) => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const launcher = new FakeLauncher();
    launcher.onLaunch = async () => {
      await database.pool.query(removal, [sessionId]);
      await storage.ensure(sessionId);
      writeFileSync(join(filesOf(sessionId), 'agent', 'file'), 'x');
    };
    await launch(launcher, runId);
    expect(launcher.calls.at(-1)).toMatch(/^stop /);
    expect(existsSync(filesOf(sessionId))).toBe(false);
  });
});

describe('launchRunner that is refused', () => {
  it.each(['invalid-pod', 'unschedulable', 'prerequisite-failed'] as const)(
    'says %s in the words of who refused it, and is not asked again',
    async (kind) => {
      const { runId } = await storeTurn(database.pool);
      const launcher = new FakeLauncher();
      launcher.onLaunch = async () => {
        throw new LaunchRefusedError(kind, 'Job x: HTTP 403: exceeded quota');
      };
      const launched = new MockActivityEnvironment().run(() =>
        activitiesOver(launcher).launchRunner({ runId, epoch: 1 }),
      );
      await expect(launched).rejects.toMatchObject({
        type: kind,
        nonRetryable: true,
        message: 'Job x: HTTP 403: exceeded quota',
      });
    },
  );
});

describe('stopRunner', () => {
  const rowOf = async (runId: string) => {
    const { rows } = await database.pool.query<{ diagnostics: unknown; pod_message: string | null }>(
      'select diagnostics, pod_message from runner_jobs where run_id = $1',
      [runId],
    );
    return rows[0];
  };

  it('keeps what can be seen of the runner before it ends it', async () => {
    const { runId } = await storeTurn(database.pool);
    const launcher = new FakeLauncher();
    launcher.seen = { log: 'its last line' };
    launcher.onStop = async () => {
      expect(await rowOf(runId)).toMatchObject({ diagnostics: { log: 'its last line' } });
    };
    await new MockActivityEnvironment().run(() =>
      activitiesOver(launcher).stopRunner({ jobName: jobNameOf(runId, 1) }),
    );
    expect(launcher.calls).toEqual(['diagnostics', `stop ${jobNameOf(runId, 1)}`]);
    launcher.seen = undefined;
    await new MockActivityEnvironment().run(() =>
      activitiesOver(launcher).stopRunner({ jobName: jobNameOf(runId, 1) }),
    );
    expect(await rowOf(runId)).toMatchObject({ diagnostics: { log: 'its last line' } });
  });

  it('shows why a runner is not gone, and is not marked as gone', async () => {
    const { runId } = await storeTurn(database.pool);
    const jobName = jobNameOf(runId, 1);
    const launcher = new FakeLauncher();
    launcher.onStop = async () => {
      throw new Error('pod x is on node node1, which does not answer');
    };
    await expect(
      new MockActivityEnvironment().run(() => activitiesOver(launcher).stopRunner({ jobName })),
    ).rejects.toThrow('node1');
    expect(await rowOf(runId)).toMatchObject({
      pod_message: 'pod x is on node node1, which does not answer',
    });
    const { rows } = await database.pool.query('select state from runners where job_name = $1', [jobName]);
    expect(rows).not.toEqual([{ state: 'gone' }]);
  });

  it('keeps what the runner could not send, once it is gone', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const jobName = jobNameOf(runId, 1);
    const launcher = new FakeLauncher();
    launcher.onStop = async () => {
      const folder = join(sessionFolders(storageDataDir(), sessionId).supervisor, 'runs', runId);
      mkdirSync(folder, { recursive: true });
      const event = { type: 'agent_message', payload: { text: 'its last words' } };
      writeFileSync(join(folder, 'events-1.ndjson'), `${JSON.stringify({ seq: 1, event })}\n`);
    };
    await new MockActivityEnvironment().run(() => activitiesOver(launcher).stopRunner({ jobName }));
    const { rows } = await database.pool.query(
      `select epoch, producer_seq::int as seq, event -> 'payload' ->> 'text' as text from quarantined_events where run_id = $1`,
      [runId],
    );
    expect(rows).toEqual([{ epoch: 1, seq: 1, text: 'its last words' }]);
  });

  it('has it marked as gone, whatever there is in its place', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const jobName = jobNameOf(runId, 1);
    const folder = join(sessionFolders(storageDataDir(), sessionId).supervisor, 'runs', runId);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'events-1.ndjson'), '\n'.repeat(30_000_000));
    const launcher = new FakeLauncher();
    await new MockActivityEnvironment().run(() => activitiesOver(launcher).stopRunner({ jobName }));
    const { rows } = await database.pool.query('select state from runners where job_name = $1', [jobName]);
    expect(rows).toEqual([{ state: 'gone' }]);
    expect(existsSync(join(folder, 'events-1.ndjson'))).toBe(true);
  });
});

describe('sendToSession', () => {
  it.each([
    ['refuses a message for good that the session cannot decide about', 1, 'failed'],
    ['leaves one that was decided after all', 2, 'dispatched'],
  ])('%s', async (_name, decisions, state) => {
    const { task } = await createQueueTask(
      database.pool,
      createQueueTaskSchema.parse({ tenantId: 'acme', projectId: 'web', prompt: 'do it' }),
      null,
    );
    const message = await dispatchTask(database.pool, task.id, 'queueTask/none');
    const world = new FakeWorld();
    const activities = world.activities({
      acceptMessage: async ({ commandId }) => {
        if (decisions > 1)
          await database.pool.query('update session_messages set decision = $2 where command_id = $1', [
            commandId,
            JSON.stringify({ decision: 'turn', runId: 'run_later' }),
          ]);
        throw ApplicationFailure.nonRetryable('the records for acceptMessage cannot be read', 'infra-failed');
      },
    });
    const runners = activitiesOver(new FakeLauncher());
    await harness.withWorkers(
      activities,
      async () => {
        await new MockActivityEnvironment().run(() => runners.sendToSession(message));
        return [];
      },
      { taskQueue: mainTaskQueue },
    );
    expect(await followTask(database.pool, task.id)).toMatchObject({ state });
    if (state !== 'failed') return;
    const { rows } = await database.pool.query(
      'select failure_kind, failure_message from queue_tasks where task_id = $1',
      [task.id],
    );
    expect(rows).toEqual([
      { failure_kind: 'infra-failed', failure_message: 'the records for acceptMessage cannot be read' },
    ]);
  });
});
