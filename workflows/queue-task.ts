import {
  ApplicationFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { announcements, createRecords } from './activity-proxies.js';
import {
  cancelTaskUpdate,
  type DispatchAnswer,
  dispatchUpdate,
  type QueueTaskInput,
  runKey,
  stateKey,
  taskRunEndedSignal,
} from './messages.js';

/** How long a lost "your run has ended" goes unnoticed. */
const safetyLookMs = 60_000;
/** A task that is never dispatched: the workflow looks in once a day and stays. */
const dayMs = 86_400_000;

/**
 * One per queue task, from its creation (architecture.md 4.3; thin: capacity and retries are not built yet). Waits for its dispatch, sends its
 * message to its session under a key made of task and attempt, follows the run, and ends in exactly one terminal state.
 */
export async function queueTaskWorkflow(input: QueueTaskInput): Promise<{ taskId: string; state: string }> {
  const { taskId } = input;
  const records = createRecords();
  let dispatched: DispatchAnswer | undefined;
  let dispatching: Promise<DispatchAnswer> | undefined;
  let mustLook = false;
  const show = (state: string) => {
    upsertSearchAttributes([{ key: stateKey, value: state }]);
    setCurrentDetails(state);
  };

  setHandler(dispatchUpdate, dispatchOnce);
  setHandler(cancelTaskUpdate, async ({ reason, deadlineMs }) => {
    const { state, terminal, requested, ...task } = await records.cancelTask({ taskId, reason });
    // A dispatch that has begun is brought to its end first: the session may have its message already.
    const runId = task.runId ?? (terminal ? null : (await dispatchOnce()).runId);
    if (!terminal && runId !== null)
      await announcements.cancelRun({ runId, reason, deadlineMs: deadlineMs ?? null });
    mustLook = true;
    return { taskId, state, requested, runId };
  });
  setHandler(taskRunEndedSignal, () => {
    mustLook = true;
  });

  async function dispatchOnce(): Promise<DispatchAnswer> {
    dispatching ??= dispatch();
    try {
      dispatched = await dispatching;
      mustLook = true;
      return dispatched;
    } catch (error) {
      // The next dispatch tries again.
      dispatching = undefined;
      throw error;
    }
  }

  async function dispatch(): Promise<DispatchAnswer> {
    show('dispatched');
    const message = await records.dispatchTask({ taskId });
    await announcements.sendToSession(message);
    const task = await records.followTask({ taskId });
    if (task.runId === null)
      throw ApplicationFailure.retryable(
        `the message of ${taskId} was decided and has no run`,
        'infra-failed',
      );
    show('running');
    upsertSearchAttributes([{ key: runKey, value: task.runId }]);
    return { taskId, runId: task.runId, commandId: message.commandId };
  }

  for (;;) {
    const task = await records.followTask({ taskId });
    if (task.terminal) {
      show(task.state);
      await condition(() => dispatching === undefined || dispatched !== undefined, safetyLookMs);
      await condition(allHandlersFinished, safetyLookMs);
      return { taskId, state: task.state };
    }
    if (workflowInfo().continueAsNewSuggested && dispatching === undefined) {
      await condition(allHandlersFinished);
      await continueAsNew<typeof queueTaskWorkflow>(input);
    }
    await condition(() => mustLook, task.runId === null ? dayMs : safetyLookMs);
    mustLook = false;
  }
}
