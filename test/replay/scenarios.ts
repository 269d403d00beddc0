import { randomUUID } from 'node:crypto';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { SupervisionVerdict } from '../../domain/supervision.js';
import {
  cancelTaskUpdate,
  cancelUpdate,
  deleteSessionUpdate,
  dispatchUpdate,
  ensureStorageUpdate,
  evictStorageUpdate,
  refreshStorageUpdate,
  steerSignal,
  wakeSignal,
  workflowTypes,
} from '../../workflows/messages.js';
import { type AllActivities, FakeWorld } from '../workflows/fake-activities.js';
import { type Harness, session, taskQueue, turn } from '../workflows/harness.js';
import { launchScenarios } from './launch-scenarios.js';
import { asked, until } from './until.js';
import { webhookScenarios } from './webhook-scenarios.js';

/** A course of events whose history is stored: real Temporal and our workflows, over activities that answer as written here. */
export interface Scenario {
  readonly name: string;
  /** Plays it; answers the workflow whose history is meant, `id` or `id#run`. */
  play(harness: Harness): Promise<string>;
}

const gone: SupervisionVerdict = { kind: 'runner-gone', begun: true, cause: null };
const completed: SupervisionVerdict = { kind: 'outcome', outcome: { terminalStatus: 'completed' } };
const failedWith = (failureKind: 'agent-error' | 'provider-rate-limited'): SupervisionVerdict => ({
  kind: 'outcome',
  outcome: { terminalStatus: 'failed', failureKind },
});
const cancelRequest = { reason: 'enough', deadlineMs: 2_000 };

async function hasTimer(harness: Harness, workflowId: string): Promise<boolean> {
  const { events } = await harness.client.workflow.getHandle(workflowId).fetchHistory();
  return events?.some((event) => event.timerStartedEventAttributes != null) === true;
}

/** A scenario of one turn: `prepare` sets what the world answers, `meanwhile` acts on the turn while it goes on. */
function turnScenario(
  name: string,
  prepare: (world: FakeWorld) => Partial<AllActivities> | undefined,
  meanwhile: (given: {
    harness: Harness;
    world: FakeWorld;
    workflowId: string;
  }) => Promise<void> = async () => undefined,
): Scenario {
  return {
    name,
    play: async (harness) => {
      const world = new FakeWorld();
      const overrides = prepare(world);
      const input = turn();
      const workflowId = `turn/${input.runId}`;
      await harness.withWorkers(world.activities(overrides ?? {}), async () => {
        const handle = await harness.startTurn(input);
        await meanwhile({ harness, world, workflowId });
        await handle.result();
        return [];
      });
      return workflowId;
    },
  };
}

const cancelTurn = async ({ harness, workflowId }: { harness: Harness; workflowId: string }) => {
  await harness.client.workflow.getHandle(workflowId).executeUpdate(cancelUpdate, { args: [cancelRequest] });
};

let answered = false;

/** What 0.2.0 brought: retry, resume, park, cancel between attempts, continue-as-new. */
export const scenarios: readonly Scenario[] = [
  turnScenario('turn-retried', (world) => {
    world.verdicts.push({ kind: 'never-claimed' }, failedWith('agent-error'), completed);
    return undefined;
  }),
  turnScenario(
    'turn-resumed-after-loss',
    (world) => {
      world.verdicts.push(gone);
      return undefined;
    },
    async ({ harness, world, workflowId }) => {
      await asked(world, 'superviseRunner 2');
      await harness.client.workflow.getHandle(workflowId).signal(steerSignal, { commandId: 'cmd_1' });
      world.release();
    },
  ),
  turnScenario(
    'turn-parked-and-answered',
    (world) => {
      answered = false;
      world.verdicts.push({ kind: 'park-waiting' }, completed);
      world.park = () =>
        answered ? { state: 'over' } : { state: 'parked', reason: 'person', waitMs: 600_000 };
      return undefined;
    },
    async ({ harness, workflowId }) => {
      await until('the turn is parked', () => hasTimer(harness, workflowId));
      answered = true;
      await harness.client.workflow.getHandle(workflowId).signal(wakeSignal, { commandId: 'cmd_1' });
    },
  ),
  turnScenario('turn-parked-for-limit', (world) => {
    let looks = 0;
    world.verdicts.push(failedWith('provider-rate-limited'), completed);
    world.park = () => {
      looks += 1;
      return looks === 1 ? { state: 'parked', reason: 'provider-limit', waitMs: 1_000 } : { state: 'over' };
    };
    return undefined;
  }),
  turnScenario(
    'turn-cancelled-while-parked',
    (world) => {
      world.verdicts.push({ kind: 'park-waiting' });
      world.park = () => ({ state: 'parked', reason: 'person', waitMs: null });
      return undefined;
    },
    async (given) => {
      await until('the turn is parked', () => hasTimer(given.harness, given.workflowId));
      await cancelTurn(given);
    },
  ),
  turnScenario(
    'turn-cancelled-in-back-off',
    (world) => {
      world.facts = { retryBackoffMs: 60_000 };
      world.verdicts.push(failedWith('agent-error'));
      return undefined;
    },
    async (given) => {
      await until('the turn backs off', () => hasTimer(given.harness, given.workflowId));
      await cancelTurn(given);
    },
  ),
  turnScenario(
    'turn-cancelled-while-launching',
    (world) => ({
      launchRunner: async () => {
        world.calls.push('launchRunner 1');
        const context = Context.current();
        const timer = setInterval(() => context.heartbeat(), 100);
        await context.cancelled.finally(() => clearInterval(timer));
      },
    }),
    async (given) => {
      await asked(given.world, 'launchRunner 1');
      await cancelTurn(given);
    },
  ),
  turnScenario('turn-poison-blocked', (world) => {
    world.facts = { maxAttempts: 2 };
    world.verdicts.push(gone, gone);
    return undefined;
  }),
  {
    name: 'turn-continued-as-new-while-parked',
    play: async (harness) => {
      const world = new FakeWorld();
      let looks = 0;
      world.verdicts.push({ kind: 'park-waiting' }, completed);
      world.park = () => {
        looks += 1;
        return looks < 3 ? { state: 'parked', reason: 'person', waitMs: 1_000 } : { state: 'over' };
      };
      const input = turn({ maxRounds: 1 });
      const workflowId = `turn/${input.runId}`;
      let execution = '';
      await harness.withWorkers(world.activities(), async () => {
        const handle = await harness.startTurn(input);
        execution = handle.firstExecutionRunId;
        await handle.result();
        return [];
      });
      return `${workflowId}#${execution}`;
    },
  },
  {
    name: 'session-continued-as-new-with-live-turn',
    play: async (harness) => {
      const world = new FakeWorld();
      const input = session({ maxUpdates: 5 });
      const workflowId = `session/${input.sessionId}`;
      let execution = '';
      await harness.withWorkers(world.activities(), async () => {
        for (let index = 0; index < 7; index += 1) await harness.send(input, `cmd_${index}`);
        const { raw } = await harness.client.workflow.getHandle(workflowId).describe();
        execution = raw.workflowExecutionInfo?.firstRunId ?? '';
        await asked(world, 'superviseRunner 1');
        world.release();
        await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
        return [];
      });
      return `${workflowId}#${execution}`;
    },
  },
  {
    name: 'session-answer',
    play: async (harness) => {
      const world = new FakeWorld();
      const input = session();
      const workflowId = `session/${input.sessionId}`;
      const inner = world.activities();
      const activities = world.activities({
        acceptMessage: async ({ commandId }) =>
          commandId === 'cmd_1'
            ? inner.acceptMessage({ commandId })
            : { decision: 'answer', runId: world.firstRunId, commandId, requestId: 'req_1' },
      });
      await harness.withWorkers(activities, async () => {
        await harness.send(input, 'cmd_1');
        await asked(world, 'superviseRunner 1');
        await harness.send(input, 'cmd_2');
        await until('the turn was woken', async () => {
          const { events } = await harness.client.workflow
            .getHandle(`turn/${world.firstRunId}`)
            .fetchHistory();
          return events?.some((event) => event.workflowExecutionSignaledEventAttributes != null) === true;
        });
        world.release();
        await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
        return [];
      });
      return workflowId;
    },
  },
  {
    name: 'session-storage-deleted',
    play: async (harness) => {
      const world = new FakeWorld();
      world.sessionRunners = ['job-1'];
      const input = session();
      const workflowId = `sessionStorage/${input.sessionId}`;
      await harness.withWorkers(world.activities(), async () => {
        const handle = await harness.client.workflow.start(workflowTypes.sessionStorage, {
          workflowId,
          taskQueue,
          args: [input],
        });
        const updates = [
          handle.executeUpdate(ensureStorageUpdate),
          handle.executeUpdate(refreshStorageUpdate),
          handle.executeUpdate(evictStorageUpdate, { args: [{ onlyIfExpired: false }] }),
          handle.executeUpdate(deleteSessionUpdate),
        ];
        await Promise.all(updates);
        await handle.result();
        return [];
      });
      return workflowId;
    },
  },
  {
    name: 'event-retention',
    play: async (harness) => {
      const world = new FakeWorld();
      world.months = ['events_2024_01', 'events_2024_02'];
      const workflowId = `maintenance/event-retention-${randomUUID()}`;
      const activities = world.activities({
        dropEventMonth: async ({ month }) => {
          if (month === 'events_2024_01') throw ApplicationFailure.nonRetryable('the table stayed locked');
          return { outcome: 'dropped' };
        },
      });
      await harness.withWorkers(activities, async () => {
        await harness.client.workflow.execute(workflowTypes.eventRetention, {
          workflowId,
          taskQueue,
          args: [],
        });
        return [];
      });
      return workflowId;
    },
  },
  {
    name: 'runner-retention',
    play: async (harness) => {
      const workflowId = `maintenance/runner-retention-${randomUUID()}`;
      const activities = new FakeWorld().activities({
        lookAtRunners: async () => ({
          examined: 4,
          kept: { active: 1, unknown: 0, withinLimits: 1 },
          toRemove: ['job-1', 'job-2'].map((jobName) => ({ jobName, reason: 'too-many' })),
          hasMore: false,
        }),
        removeRunner: async ({ jobName }) => {
          if (jobName === 'job-1') throw ApplicationFailure.nonRetryable('node n1 does not answer');
          return { outcome: 'removed' };
        },
      });
      await harness.withWorkers(activities, async () => {
        await harness.client.workflow.execute(workflowTypes.runnerRetention, {
          workflowId,
          taskQueue,
          args: [],
        });
        return [];
      });
      return workflowId;
    },
  },
  {
    name: 'storage-gc',
    play: async (harness) => {
      const world = new FakeWorld();
      const owner = { tenantId: 't', projectId: 'p', isDeleted: false };
      world.expired = {
        toRemove: ['s-1', 's-2'].map((sessionId) => ({ sessionId, ...owner })),
        busy: [],
        hasMore: false,
      };
      const workflowId = `storageGc-${randomUUID()}`;
      await harness.withWorkers(world.activities(), async () => {
        await harness.client.workflow.execute(workflowTypes.storageGc, {
          workflowId,
          taskQueue,
          args: [{ tenantId: null }],
        });
        return [];
      });
      return workflowId;
    },
  },
  {
    name: 'queue-task-cancelled',
    play: async (harness) => {
      const world = new FakeWorld();
      const taskId = `task_${randomUUID()}`;
      const workflowId = `queueTask/${taskId}`;
      const activities = world.activities({
        cancelRun: async () => {
          world.ended.set(taskId, 'cancelled');
        },
      });
      await harness.withWorkers(activities, async () => {
        const handle = await harness.client.workflow.start(workflowTypes.queueTask, {
          workflowId,
          taskQueue,
          args: [{ taskId, ...session() }],
        });
        await handle.executeUpdate(dispatchUpdate);
        await handle.executeUpdate(cancelTaskUpdate, { args: [cancelRequest] });
        await handle.result();
        return [];
      });
      return workflowId;
    },
  },
  ...launchScenarios,
  ...webhookScenarios,
];
