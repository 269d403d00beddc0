import { WithStartWorkflowOperation } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createWorkflowGateway } from '../../api/workflow-gateway.js';
import { launchUpdate, type SessionInput, workflowTypes } from '../../workflows/messages.js';
import { FakeWorld } from './fake-activities.js';
import { Harness, session, taskQueue, turn } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});

const asked = (world: FakeWorld, call: string) =>
  vi.waitFor(() => expect(world.calls).toContain(call), { timeout: 20_000 });

const launch = (input: SessionInput, runId: string) =>
  harness.client.workflow.executeUpdateWithStart(launchUpdate, {
    args: [{ runId }],
    startWorkflowOperation: new WithStartWorkflowOperation(workflowTypes.session, {
      workflowId: `session/${input.sessionId}`,
      taskQueue,
      args: [input],
      workflowIdConflictPolicy: 'USE_EXISTING',
    }),
  });

const waiting = (runId: string) => ({
  epoch: 1,
  jobName: 'job-1',
  reused: false,
  launcher: 'external' as const,
  maxAttempts: 3,
  runId,
});

describe('the launch update', () => {
  it('gives the turn that waits for a runner its own one, in the same attempt', async () => {
    const world = new FakeWorld();
    const input = turn({ launcher: 'external' });
    const { runId } = input;
    world.active = runId;
    const activities = world.activities({
      openTurn: async () => ({ terminal: false, attempt: waiting(runId) }),
    });
    await harness.withWorkers(activities, async () => {
      const handle = await harness.startTurn(input);
      await asked(world, 'superviseRunner 1 external');
      const owner = session({ sessionId: input.sessionId, idleMs: 1_000 });
      expect(await launch(owner, runId)).toEqual({ kind: 'job', jobId: 'job_1' });
      await asked(world, 'superviseRunner 1');
      world.release();
      expect(await handle.result()).toMatchObject({ status: 'completed', attempts: 1 });
      await harness.client.workflow.getHandle(`session/${owner.sessionId}`).result();
      return [handle.workflowId, `session/${owner.sessionId}`];
    });
    expect(world.calls.filter((call) => /Runner|adopt/.test(call))).toEqual([
      'superviseRunner 1 external',
      `adoptLauncher ${runId}`,
      'launchRunner 1',
      'superviseRunner 1',
    ]);
  });

  it('starts the turn when no workflow runs it', async () => {
    const world = new FakeWorld();
    world.active = world.firstRunId;
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const owner = session({ idleMs: 1_000 });
    await harness.withWorkers(world.activities(), async () => {
      await launch(owner, world.firstRunId);
      await asked(world, 'finishTurn completed null');
      await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`turn/${world.firstRunId}`];
    });
    expect(world.calls).toContain('launchRunner 1');
  });

  it('answers a refusal as it is', async () => {
    const world = new FakeWorld();
    const refusal = { kind: 'refused', failureKind: 'session-busy', message: 'waits' } as const;
    const owner = session({ idleMs: 1_000 });
    await harness.withWorkers(world.activities({ adoptLauncher: async () => refusal }), async () => {
      expect(await launch(owner, 'run_1')).toEqual(refusal);
      await harness.client.workflow.getHandle(`session/${owner.sessionId}`).result();
      return [`session/${owner.sessionId}`];
    });
  });

  it('is 503 while the workers are of a version that does not know it', async () => {
    const world = new FakeWorld();
    const gateway = createWorkflowGateway(harness.client, 'default');
    const owner = session({ idleMs: 1_000 });
    const input = turn();
    const workflowId = `session/${owner.sessionId}`;
    await harness.withWorkers(world.activities(), async () => {
      // Any workflow without this handler.
      const handle = await harness.client.workflow.start(workflowTypes.turn, {
        workflowId,
        taskQueue,
        args: [input],
      });
      await asked(world, 'superviseRunner 1');
      await expect(gateway.launch(owner, 'run_1')).rejects.toMatchObject({
        failureKind: 'unavailable',
        message: expect.stringContaining('earlier version'),
      });
      world.release();
      await handle.result();
      return [workflowId];
    });
  });
});
