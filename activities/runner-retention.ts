import { Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { decideRetention, type RetainedRunner } from '../domain/kubernetes/runner-retention.js';
import { mainTaskQueue, runnerRetentionWorkflowId } from '../domain/workflow-ids.js';
import type { RetentionSettings } from '../infra/config/retention-settings.js';
import type { Cluster } from '../infra/kubernetes/cluster.js';
import { listRunnerJobs } from '../infra/kubernetes/runner-jobs.js';
import type { Pool } from '../store/pool.js';
import { closeInactiveRunner, runnerActivity } from '../store/runner-activity.js';
import { retainRunnersSignal, workflowTypes } from '../workflows/messages.js';
import type { RunnerRetentionActivities } from './index.js';
import { heartbeating } from './runners.js';

/** Of one cycle: what is left is found by the next. */
const mostRemovals = 200;

export interface RunnerRetentionDependencies {
  readonly pool: Pool;
  /** Undefined: runners have no Jobs here. */
  readonly cluster: Pick<Cluster, 'batch' | 'namespace'> | undefined;
  /** Undefined: Jobs of runners are kept. */
  readonly settings: RetentionSettings | undefined;
  /** Ends a runner as a turn does: what can be seen of it is stored before its Job is deleted, and it is proven gone. */
  readonly stopRunner: (jobName: string) => Promise<void>;
}

const askWithinMs = 3_000;

/** After a Job was created: a cycle of retention, or another one after the cycle that is under way. */
export async function askForRunnerRetention(client: Client): Promise<void> {
  await client.withDeadline(Date.now() + askWithinMs, () =>
    client.workflow.signalWithStart(workflowTypes.runnerRetention, {
      workflowId: runnerRetentionWorkflowId,
      taskQueue: mainTaskQueue,
      args: [],
      workflowExecutionTimeout: '1 hour',
      signal: retainRunnersSignal,
      signalArgs: [],
      staticSummary: 'retention of runners',
    }),
  );
}

/** Retention of the Jobs of runners (contract.md 8.3). */
export function createRunnerRetentionActivities({
  pool,
  cluster,
  settings,
  stopRunner,
}: RunnerRetentionDependencies): RunnerRetentionActivities {
  return {
    lookAtRunners: async () => {
      if (cluster === undefined || settings === undefined) return null;
      const runners = await heartbeating('looking at runners', () => lookAt(pool, cluster, settings));
      const { remove, kept } = decideRetention(runners, settings, Date.now());
      return {
        examined: runners.length,
        kept,
        toRemove: remove.slice(0, mostRemovals),
        hasMore: remove.length > mostRemovals,
      };
    },

    removeRunner: async ({ jobName }) => {
      if (settings === undefined) return { outcome: 'kept' };
      if (!(await closeInactiveRunner(pool, jobName, settings.activeHeartbeatMaxAgeMs)))
        return { outcome: 'kept' };
      await stopRunner(jobName);
      Context.current().log.info('removed a runner', { jobName });
      return { outcome: 'removed' };
    },
  };
}

async function lookAt(
  pool: Pool,
  cluster: Pick<Cluster, 'batch' | 'namespace'>,
  settings: RetentionSettings,
): Promise<RetainedRunner[]> {
  const jobs = await listRunnerJobs(cluster, settings);
  const activity = await runnerActivity(
    pool,
    jobs.map(({ name }) => name),
    settings.activeHeartbeatMaxAgeMs,
  );
  const known = new Map(activity.map((runner) => [runner.jobName, runner]));
  return jobs.map(({ name, createdAtMs }): RetainedRunner => {
    const runner = known.get(name);
    if (runner === undefined) return { jobName: name, state: 'unknown', lastActiveAtMs: createdAtMs };
    const { isActive, lastActiveAtMs } = runner;
    return { jobName: name, state: isActive ? 'active' : 'inactive', lastActiveAtMs };
  });
}
