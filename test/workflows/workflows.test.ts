import { randomUUID } from 'node:crypto';
import { WithStartWorkflowOperation, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, defineSearchAttributeKey } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RecordActivities, RunnerActivities, SuperviseActivities } from '../../activities/index.js';
import { searchAttributeNames, superviseTaskQueue } from '../../domain/workflow-ids.js';
import { startTracing } from '../../infra/telemetry/tracing.js';
import { createTracingPlugin } from '../../infra/temporal/tracing-plugin.js';
import { bundleWorkflows } from '../../worker/bundle-workflows.js';
import {
  cancelUpdate,
  dispatchUpdate,
  type SessionInput,
  sendUpdate,
  steerSignal,
  type TurnInput,
  turnEndedSignal,
  workflowTypes,
} from '../../workflows/messages.js';
import { FakeWorld } from './fake-activities.js';

let env: TestWorkflowEnvironment;
let bundle: WorkflowBundleOption;
const tracing = startTracing({ serviceName: 'test' });
const taskQueue = 'workflow-tests';

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const path = process.env.TEMPORAL_CLI_PATH;
  if (path === undefined) throw new Error('the global setup names the Temporal server');
  env = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path },
      searchAttributes: Object.values(searchAttributeNames).map((name) =>
        defineSearchAttributeKey(name, 'KEYWORD'),
      ),
    },
  });
  bundle = await bundleWorkflows(tracing);
});
afterAll(async () => {
  await env?.teardown();
});

/** Runs `work` beside workers with these activities; the histories of all workflows it names (`id` or `id#run`) are replayed afterwards. */
async function withWorkers(
  activities: RecordActivities & RunnerActivities & SuperviseActivities,
  work: () => Promise<readonly string[]>,
  options: { maxCachedWorkflows?: number } = {},
): Promise<void> {
  const common = {
    connection: env.nativeConnection,
    activities,
    plugins: [createTracingPlugin(tracing)],
    ...options,
  };
  const main = await Worker.create({ ...common, taskQueue, workflowBundle: bundle });
  const supervise = await Worker.create({ ...common, taskQueue: superviseTaskQueue });
  let ids: readonly string[] = [];
  await main.runUntil(
    supervise.runUntil(async () => {
      ids = await work();
    }),
  );
  for (const workflowId of ids) {
    const [id = '', execution] = workflowId.split('#');
    const history = await env.client.workflow.getHandle(id, execution).fetchHistory();
    await Worker.runReplayHistory(
      { workflowBundle: bundle, plugins: [createTracingPlugin(tracing)] },
      history,
      workflowId,
    );
  }
}

const session = (over: Partial<SessionInput> = {}): SessionInput => ({
  sessionId: `s-${randomUUID()}`,
  tenantId: 't',
  projectId: 'p',
  ...over,
});
const turn = (): TurnInput => ({ ...session(), runId: `run_${randomUUID()}`, launcher: 'process' });

const startTurn = (input: TurnInput) =>
  env.client.workflow.start(workflowTypes.turn, {
    workflowId: `turn/${input.runId}`,
    taskQueue,
    args: [input],
  });

function send(input: SessionInput, commandId: string) {
  return env.client.workflow.executeUpdateWithStart(sendUpdate, {
    args: [{ commandId }],
    startWorkflowOperation: new WithStartWorkflowOperation(workflowTypes.session, {
      workflowId: `session/${input.sessionId}`,
      taskQueue,
      args: [input],
      workflowIdConflictPolicy: 'USE_EXISTING',
    }),
  });
}

describe('turn workflow', () => {
  it('launches, supervises, finishes and announces, in this order', async () => {
    const world = new FakeWorld();
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toEqual({ runId: input.runId, status: 'completed', attempts: 1 });
      return [handle.workflowId];
    });
    expect(world.calls).toEqual([
      `openTurn ${input.runId}`,
      'launchRunner 1',
      'superviseRunner 1',
      'finishTurn completed null',
      `announceTurnEnd ${input.runId}`,
    ]);
  });

  it('tries again with the next epoch when the runner was lost before the agent began, and proves it gone first', async () => {
    const world = new FakeWorld();
    world.verdicts.push(
      { kind: 'runner-gone', begun: false },
      { kind: 'outcome', outcome: { terminalStatus: 'completed' } },
    );
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toMatchObject({ status: 'completed', attempts: 2 });
      return [handle.workflowId];
    });
    expect(world.calls.slice(2)).toEqual([
      'superviseRunner 1',
      'stopRunner job-1',
      'writeAttempt 2',
      'launchRunner 2',
      'superviseRunner 2',
      'finishTurn completed null',
      `announceTurnEnd ${input.runId}`,
    ]);
  });

  it.each([
    ['runner-lost', { kind: 'runner-gone', begun: true }],
    ['idle-timeout', { kind: 'timeout', timeoutKind: 'idle', limitMs: 5 }],
  ] as const)('ends failed with %s after the runner was stopped', async (failureKind, verdict) => {
    const world = new FakeWorld();
    world.verdicts.push(verdict);
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toMatchObject({ status: 'failed' });
      return [handle.workflowId];
    });
    expect(world.calls.slice(-3)).toEqual([
      'stopRunner job-1',
      `finishTurn failed ${failureKind}`,
      `announceTurnEnd ${input.runId}`,
    ]);
  });

  it('ends with the cause when the launch is refused for good', async () => {
    const world = new FakeWorld();
    const input = turn();
    const activities = world.activities({
      launchRunner: async () => {
        throw ApplicationFailure.nonRetryable(
          'workspace.path: /nowhere is not a folder',
          'prerequisite-failed',
        );
      },
    });
    await withWorkers(activities, async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toMatchObject({ status: 'failed' });
      return [handle.workflowId];
    });
    expect(world.calls).toContain('finishTurn failed prerequisite-failed');
  });

  it('stores a cancel while it supervises, and leaves the end to the runner', async () => {
    const world = new FakeWorld();
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      const answer = await handle.executeUpdate(cancelUpdate, { args: [{ reason: 'enough' }] });
      expect(answer).toEqual({ runId: input.runId, status: 'running', requested: true });
      world.release();
      await handle.result();
      return [handle.workflowId];
    });
    expect(world.calls).toContain('requestCancel');
  });

  it('takes a step as a regular activity when the local one fails, and loses nothing', async () => {
    const world = new FakeWorld();
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const inner = world.activities();
    let failures = 2;
    const activities = world.activities({
      finishTurn: async (given) => {
        if (failures > 0) {
          failures -= 1;
          throw new Error('connection refused');
        }
        return inner.finishTurn(given);
      },
    });
    await withWorkers(activities, async () => {
      const handle = await startTurn(turn());
      expect(await handle.result()).toMatchObject({ status: 'completed' });
      return [handle.workflowId];
    });
    expect(failures).toBe(0);
  });

  it('costs the same number of history events whatever is steered, and repeats nothing without a cache', async () => {
    const world = new FakeWorld();
    const input = turn();
    await withWorkers(
      world.activities(),
      async () => {
        const handle = await startTurn(input);
        await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
        await handle.signal(steerSignal, { commandId: 'cmd_1' });
        await handle.signal(steerSignal, { commandId: 'cmd_2' });
        world.release();
        await handle.result();
        return [handle.workflowId];
      },
      { maxCachedWorkflows: 0 },
    );
    expect(world.calls.filter((call) => call.startsWith('launchRunner'))).toHaveLength(1);
    expect(world.calls.filter((call) => call.startsWith('superviseRunner'))).toHaveLength(1);
  });
});

describe('session workflow', () => {
  it('answers a send with its decision, starts the turn, and steers it with the next send', async () => {
    const world = new FakeWorld();
    const input = session();
    await withWorkers(world.activities(), async () => {
      expect(await send(input, 'cmd_1')).toEqual({
        decision: 'turn',
        runId: world.firstRunId,
        commandId: 'cmd_1',
        queued: false,
        launcher: 'process',
        first: null,
      });
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      expect(await send(input, 'cmd_2')).toEqual({
        decision: 'steer',
        runId: world.firstRunId,
        commandId: 'cmd_2',
      });
      await vi.waitFor(
        async () => {
          const { events } = await env.client.workflow.getHandle(`turn/${world.firstRunId}`).fetchHistory();
          expect(
            events?.some((event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steer'),
          ).toBe(true);
        },
        { timeout: 10_000 },
      );
      world.release();
      await env.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`session/${input.sessionId}`, `turn/${world.firstRunId}`];
    });
  });

  it('starts the turn that waits when the former one has ended', async () => {
    const world = new FakeWorld();
    const input = session({ idleMs: 60_000 });
    const runId = `run_${randomUUID()}`;
    await withWorkers(world.activities(), async () => {
      await send(input, 'cmd_1');
      const first = world.active ?? '';
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      world.queued.push(runId);
      world.release();
      await env.client.workflow.getHandle(`turn/${first}`).result();
      await env.client.workflow
        .getHandle(`session/${input.sessionId}`)
        .signal(turnEndedSignal, { runId: first, nextCommandIds: [] });
      await vi.waitFor(() => expect(world.calls).toContain(`openTurn ${runId}`), { timeout: 10_000 });
      await vi.waitFor(() =>
        expect(world.calls.filter((call) => call === 'superviseRunner 1')).toHaveLength(2),
      );
      world.release();
      await env.client.workflow.getHandle(`turn/${runId}`).result();
      return [`session/${input.sessionId}`];
    });
  });

  it('decides about simultaneous sends one after another: one turn, the others steer it', async () => {
    const world = new FakeWorld();
    const input = session();
    await withWorkers(world.activities(), async () => {
      const decisions = await Promise.all(
        ['cmd_1', 'cmd_2', 'cmd_3'].map((commandId) => send(input, commandId)),
      );
      expect(decisions.map((one) => one.decision).sort()).toEqual(['steer', 'steer', 'turn']);
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      world.release();
      await env.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`session/${input.sessionId}`];
    });
  });

  it('continues as new with a live turn, which goes on', async () => {
    const world = new FakeWorld();
    const input = session({ maxUpdates: 3 });
    await withWorkers(world.activities(), async () => {
      for (let index = 0; index < 7; index += 1) await send(input, `cmd_${index}`);
      const id = `session/${input.sessionId}`;
      const { raw, runId, status } = await env.client.workflow.getHandle(id).describe();
      const firstExecution = raw.workflowExecutionInfo?.firstRunId ?? '';
      expect(status.name).toBe('RUNNING');
      expect(runId).not.toBe(firstExecution);
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      expect(world.calls.filter((call) => call.startsWith('launchRunner'))).toHaveLength(1);
      world.release();
      await env.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`${id}#${firstExecution}`, `turn/${world.firstRunId}`];
    });
  });

  it('ends when nothing has gone on for its idle time', async () => {
    const world = new FakeWorld();
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const input = session({ idleMs: 1_000 });
    await withWorkers(world.activities(), async () => {
      await send(input, 'cmd_1');
      await env.client.workflow.getHandle(`session/${input.sessionId}`).result();
      return [`session/${input.sessionId}`];
    });
    expect(world.active).toBeNull();
  });
});

describe('queue task workflow', () => {
  it('dispatches once, follows its run, and ends in one terminal state', async () => {
    const world = new FakeWorld();
    const taskId = `task_${randomUUID()}`;
    const workflowId = `queueTask/${taskId}`;
    await withWorkers(world.activities(), async () => {
      const handle = await env.client.workflow.start(workflowTypes.queueTask, {
        workflowId,
        taskQueue,
        args: [{ taskId, ...session() }],
      });
      const answers = await Promise.all([
        handle.executeUpdate(dispatchUpdate),
        handle.executeUpdate(dispatchUpdate),
      ]);
      expect(answers[0]).toEqual({ taskId, runId: world.firstRunId, commandId: 'cmd_1' });
      expect(answers[1]).toEqual(answers[0]);
      world.ended.set(taskId, 'completed');
      await handle.signal('taskRunEnded', { runId: world.firstRunId });
      expect(await handle.result()).toEqual({ taskId, state: 'completed' });
      return [workflowId];
    });
    expect(world.calls.filter((call) => call.startsWith('dispatchTask'))).toHaveLength(1);
  });

  it('fails the dispatch of a task that has ended, with its kind', async () => {
    const world = new FakeWorld();
    const activities = world.activities({
      dispatchTask: async () => {
        throw ApplicationFailure.nonRetryable('queue task is completed', 'conflict');
      },
    });
    await withWorkers(activities, async () => {
      const taskId = `task_${randomUUID()}`;
      const handle = await env.client.workflow.start(workflowTypes.queueTask, {
        workflowId: `queueTask/${taskId}`,
        taskQueue,
        args: [{ taskId, ...session() }],
      });
      await expect(handle.executeUpdate(dispatchUpdate)).rejects.toThrow(WorkflowUpdateFailedError);
      await handle.terminate();
      return [];
    });
  });
});
