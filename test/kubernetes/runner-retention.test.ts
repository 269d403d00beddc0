import { MockActivityEnvironment } from '@temporalio/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import type { RunnersToRemove } from '../../activities/index.js';
import { createRunnerRetentionActivities } from '../../activities/runner-retention.js';
import { components, labels, managedBy } from '../../domain/kubernetes/labels.js';
import type { RetentionSettings } from '../../infra/config/retention-settings.js';
import { hasStatus } from '../../infra/kubernetes/api-errors.js';
import type { Cluster } from '../../infra/kubernetes/cluster.js';
import { jobNameOf, markRunnerGone } from '../../store/attempts.js';
import { finishTurn } from '../../store/turn-steps.js';
import { useCluster } from '../support/cluster.js';
import { claimTurn, storeTurn } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const { pool } = await (await usePostgres()).newDatabase();
const test = await useCluster();
const lane = { 'agentrun.dev/lane': 'h6' };
const settings: RetentionSettings = {
  maxRunners: 1,
  activeHeartbeatMaxAgeMs: 60_000,
  jobNamePrefixes: ['agentrun-'],
  matchLabels: lane,
  maxAgeMs: undefined,
};

let cluster: Cluster;
beforeEach(async () => {
  cluster = await test.makeNamespace('h6-retention');
});

/** A Job as a launch makes it, without a pod: it is suspended. */
async function makeJob(name: string, more: Record<string, string> = {}): Promise<void> {
  const { batch, namespace } = cluster;
  const own = { [labels.managedBy]: managedBy, [labels.component]: components.runner };
  await batch.createNamespacedJob({
    namespace,
    body: {
      metadata: { name, labels: { ...own, ...lane, ...more } },
      spec: {
        suspend: true,
        template: {
          spec: {
            restartPolicy: 'Never',
            containers: [{ name: 'supervisor', image: 'agentrun.test/not-there:1' }],
          },
        },
      },
    },
  });
}

async function jobNames(): Promise<string[]> {
  const { items } = await cluster.batch.listNamespacedJob({ namespace: cluster.namespace });
  return items.map(({ metadata }) => metadata?.name ?? '').toSorted();
}

/** A turn with a runner that has claimed it, and its Job. */
async function runner(): Promise<{ jobName: string; runId: string }> {
  const { runId } = await storeTurn(pool);
  await claimTurn(pool, runId);
  const jobName = jobNameOf(runId, 1);
  await makeJob(jobName);
  return { jobName, runId };
}

const finish = (runId: string) =>
  finishTurn(pool, runId, { terminalStatus: 'completed', failureKind: null, failureMessage: null });
/** Its lease has expired and it was last heard of so long ago. */
const silentFor = (jobName: string, minutes: number) =>
  pool.query(
    `update leases set expires_at = now() - interval '1 second', heartbeat_at = now() - $2 * interval '1 minute' where job_name = $1`,
    [jobName, minutes],
  );
async function silentRunner(minutes: number): Promise<string> {
  const { jobName, runId } = await runner();
  await finish(runId);
  await silentFor(jobName, minutes);
  await pool.query(
    `update runners set state = 'idle', created_at = now() - interval '10 days' where job_name = $1`,
    [jobName],
  );
  return jobName;
}

/** One cycle, as its workflow goes through it. */
async function cycle(
  over: Partial<RetentionSettings> = {},
  before: (jobName: string) => Promise<unknown> = async () => undefined,
) {
  const stopped: string[] = [];
  const activities = createRunnerRetentionActivities({
    pool,
    cluster,
    settings: { ...settings, ...over },
    stopRunner: async (jobName) => {
      stopped.push(jobName);
      const { batch, namespace } = cluster;
      await batch
        .deleteNamespacedJob({ namespace, name: jobName, propagationPolicy: 'Background' })
        .catch((error: unknown) => {
          if (!hasStatus(error, 404)) throw error;
        });
      await markRunnerGone(pool, jobName);
    },
  });
  const environment = new MockActivityEnvironment();
  const looked: RunnersToRemove | null = await environment.run(() => activities.lookAtRunners());
  const outcomes: string[] = [];
  for (const { jobName } of looked?.toRemove ?? []) {
    await before(jobName);
    const removed: { outcome: string } = await environment.run(() => activities.removeRunner({ jobName }));
    outcomes.push(removed.outcome);
  }
  return { looked, stopped, outcomes };
}

describe('retention of the Jobs of runners', () => {
  it('removes the inactive ones above the number, the longest silent first, and is safe to repeat', async () => {
    const young = await silentRunner(5);
    const oldest = await silentRunner(90);
    const old = await silentRunner(30);
    const { looked, stopped } = await cycle();
    expect(looked).toMatchObject({ examined: 3, kept: { active: 0, unknown: 0, withinLimits: 1 } });
    expect(stopped).toEqual([oldest, old]);
    expect(await jobNames()).toEqual([young]);
    expect((await cycle()).stopped).toEqual([]);
  });

  it.each<[string, () => Promise<string>]>([
    [
      'has a live lease',
      async () => {
        const { jobName, runId } = await runner();
        await finish(runId);
        return jobName;
      },
    ],
    [
      'was heard of lately',
      async () => {
        const jobName = await silentRunner(0);
        return jobName;
      },
    ],
    [
      'is silent, with a turn that has not ended',
      async () => {
        const { jobName } = await runner();
        await silentFor(jobName, 600);
        return jobName;
      },
    ],
    [
      'is being launched',
      async () => {
        const { runId } = await storeTurn(pool);
        const jobName = jobNameOf(runId, 1);
        await makeJob(jobName);
        return jobName;
      },
    ],
    [
      'is of another installation',
      async () => {
        await makeJob('agentrun-of-others-1');
        return 'agentrun-of-others-1';
      },
    ],
  ])('never touches one that %s, whatever the limits', async (_name, make) => {
    const jobName = await make();
    await makeJob('agentrun-filler-1');
    const { stopped } = await cycle({ maxRunners: 1, maxAgeMs: 1 });
    expect(stopped).toEqual([]);
    expect(await jobNames()).toContain(jobName);
  });

  it('lets one go on that becomes active between look and removal', async () => {
    const jobName = await silentRunner(90);
    await silentRunner(5);
    const { stopped, outcomes } = await cycle({}, (name) =>
      pool.query(`update leases set heartbeat_at = now() where job_name = $1`, [name]),
    );
    expect([stopped, outcomes]).toEqual([[], ['kept']]);
    expect(await jobNames()).toContain(jobName);
    const { rows } = await pool.query('select state from runners where job_name = $1', [jobName]);
    expect(rows).toEqual([{ state: 'idle' }]);
  });

  it('counts only what has its labels and its prefix', async () => {
    const jobName = await silentRunner(90);
    const { namespace, batch } = cluster;
    await makeJob('other-1');
    await makeJob('agentrun-lane-1', { 'agentrun.dev/lane': 'v9' });
    await makeJob('agentrun-doctor-1', { [labels.component]: components.doctor });
    await batch.createNamespacedJob({
      namespace,
      body: {
        metadata: { name: 'agentrun-by-hand-1', labels: lane },
        spec: {
          suspend: true,
          template: { spec: { restartPolicy: 'Never', containers: [{ name: 'a', image: 'b' }] } },
        },
      },
    });
    const { looked, stopped } = await cycle();
    expect([looked?.examined, stopped]).toEqual([1, []]);
    const byAge = await cycle({ maxAgeMs: 3_600_000 });
    expect([byAge.looked?.toRemove, byAge.stopped]).toEqual([[{ jobName, reason: 'too-old' }], [jobName]]);
  });

  it('does nothing where there is none', async () => {
    const without = createRunnerRetentionActivities({
      pool,
      cluster,
      settings: undefined,
      stopRunner: () => Promise.reject(new Error('nothing is removed')),
    });
    const environment = new MockActivityEnvironment();
    expect(await environment.run(() => without.lookAtRunners())).toBeNull();
    expect(await environment.run(() => without.removeRunner({ jobName: 'x' }))).toEqual({ outcome: 'kept' });
  });
});
