import { WithStartWorkflowOperation } from '@temporalio/client';
import { launchUpdate, workflowTypes } from '../../workflows/messages.js';
import { FakeWorld } from '../workflows/fake-activities.js';
import { type Harness, session, taskQueue, turn } from '../workflows/harness.js';
import type { Scenario } from './scenarios.js';
import { asked } from './until.js';

/** A turn waits for a runner that somebody else starts, and is given one of ours; answers turn and session. */
async function giveLauncher(harness: Harness): Promise<{ turnId: string; sessionId: string }> {
  const world = new FakeWorld();
  const input = turn({ launcher: 'external' });
  const { runId } = input;
  world.active = runId;
  const attempt = {
    runId,
    epoch: 1,
    jobName: 'job-1',
    reused: false,
    launcher: 'external' as const,
    maxAttempts: 3,
  };
  const owner = session({ sessionId: input.sessionId, idleMs: 1_000 });
  const sessionId = `session/${owner.sessionId}`;
  let turnId = '';
  const activities = world.activities({ openTurn: async () => ({ terminal: false, attempt }) });
  await harness.withWorkers(activities, async () => {
    const handle = await harness.startTurn(input);
    turnId = handle.workflowId;
    await asked(world, 'superviseRunner 1 external');
    await harness.client.workflow.executeUpdateWithStart(launchUpdate, {
      args: [{ runId }],
      startWorkflowOperation: new WithStartWorkflowOperation(workflowTypes.session, {
        workflowId: sessionId,
        taskQueue,
        args: [owner],
        workflowIdConflictPolicy: 'USE_EXISTING',
      }),
    });
    await asked(world, 'superviseRunner 1');
    world.release();
    await handle.result();
    await harness.client.workflow.getHandle(sessionId).result();
    return [];
  });
  return { turnId, sessionId };
}

/** What `POST runner-jobs` does to the turn that waits, and to its session. */
export const launchScenarios: readonly Scenario[] = [
  { name: 'turn-given-a-launcher', play: async (harness) => (await giveLauncher(harness)).turnId },
  { name: 'session-launch', play: async (harness) => (await giveLauncher(harness)).sessionId },
];
