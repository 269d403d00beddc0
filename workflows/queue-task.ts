import {
  ApplicationFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  patched,
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
      // The next dispatch tries again, unless the task has ended. Former histories did not look.
      dispatching = undefined;
      if (patched('failed-dispatch-looks')) mustLook = true;
      throw error;
    }
  }

  async function dispatch(): Promise<DispatchAnswer> {
    show('dispatched');
    const message = await records.dispatchTask({ taskId });
    await announcements.sendToSession(message);
    const { commandId } = message;
    const { runId, terminal } = await records.followTask({ taskId });
    if (runId === null) {
      // The session refused the message: the task has failed, and who waits for the dispatch reads that.
      if (terminal && patched('refused-dispatch-answers')) return { taskId, runId, commandId };
      throw ApplicationFailure.retryable(
        `the message of ${taskId} was decided and has no run`,
        'infra-failed',
      );
    }
    show('running');
    upsertSearchAttributes([{ key: runKey, value: runId }]);
    return { taskId, runId, commandId };
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
