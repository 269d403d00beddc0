import { ApplicationFailure, Context } from '@temporalio/activity';
import {
  type Client,
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { mainTaskQueue, sessionWorkflowId, turnWorkflowId } from '../domain/workflow-ids.js';
import { type Launcher, LaunchRefusedError, type RunnerLaunch } from '../infra/launchers/launcher.js';
import type { SessionStorage } from '../infra/storage/session-storage.js';
import { PrerequisiteError } from '../infra/workspace/prepare-workspace.js';
import { findRunner, markRunnerGone, otherRunnersOfSession } from '../store/attempts.js';
import { type LaunchFacts, loadLaunchFacts, noteLaunched } from '../store/launch-facts.js';
import type { Notifier } from '../store/notifier.js';
import { noteStuck } from '../store/pod-notes.js';
import type { Pool } from '../store/pool.js';
import { refuseMessage, whomToNotify } from '../store/queue-task-steps.js';
import { findFilesFacts } from '../store/session-files.js';
import { noteStorageMade } from '../store/session-storage.js';
import type { AttemptKey } from '../store/supervision-facts.js';
import { cancelPendingRun, requestCancel } from '../store/turn-steps.js';
import {
  cancelUpdate,
  type SessionInput,
  sendUpdate,
  sessionAttributes,
  taskRunEndedSignal,
  turnEndedSignal,
  workflowTypes,
} from '../workflows/messages.js';
import type { RunnerActivities } from './index.js';
import { keepWhatWasLeft } from './left-events.js';
import { keepDiagnostics } from './runner-diagnostics.js';
import { areStillWanted, prepareFiles } from './session-files.js';

/** How long a runner that is to go may take to end by itself: longer than its own limits for that (runner/supervisor/stop-limits.ts). */
export const stopGraceMs = 10_000;
const heartbeatMs = 5_000;

export interface RunnerDependencies {
  readonly pool: Pool;
  readonly notifier: Notifier;
  readonly launcher: Launcher;
  readonly storage: SessionStorage;
  readonly client: Client;
  /** After a runner was started; the launch stands whatever becomes of it. */
  readonly onLaunched?: () => Promise<void>;
  /** Makes the launch token of an attempt (decisions.md, Auth). */
  readonly mintLaunchToken: (launch: {
    runId: string;
    epoch: number;
    jobId: string;
    jobName: string;
  }) => Promise<string>;
}

/** Starting and ending runners, and telling sessions and tasks. */
export function createRunnerActivities(dependencies: RunnerDependencies): RunnerActivities {
  const { pool, notifier, launcher, storage, client } = dependencies;

  /** A runner in a cluster cannot be proven gone by who looks for processes, nor the other way round. */
  async function requireOwn(jobName: string): Promise<void> {
    const runner = await findRunner(pool, jobName);
    if (runner === undefined || runner.launcher === 'external' || runner.state === 'gone') return;
    if ((runner.launcher === 'kubernetes') === (launcher.kind === 'kubernetes')) return;
    throw new Error(
      `runner ${jobName} was started with AGENTRUN_LAUNCHER=${runner.launcher}: this worker has ${launcher.kind} and cannot prove it gone; run a worker with the former setting until it is`,
    );
  }

  async function stop(jobName: string): Promise<void> {
    await requireOwn(jobName);
    await heartbeating(`ending ${jobName}`, async () => {
      await keepDiagnostics(pool, launcher, jobName);
      await stopOrSayWhy(jobName);
    });
    await heartbeating(`keeping what ${jobName} left`, () => keepWhatWasLeft(pool, storage, jobName));
    await markRunnerGone(pool, jobName);
  }

  /** Why a runner is not gone yet is shown while the next try is waited for. */
  async function stopOrSayWhy(jobName: string): Promise<void> {
    try {
      await launcher.stop(jobName, stopGraceMs);
    } catch (error) {
      await noteStuck(pool, jobName, error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  /** A step that stood still past its heartbeat (a frozen machine) may go on when the session has a later turn: that one's runner is not its to end. */
  async function isStillWanted({ runId, epoch }: AttemptKey): Promise<boolean> {
    const facts = await loadLaunchFacts(pool, runId, epoch);
    Context.current().cancellationSignal.throwIfAborted();
    return facts?.isCurrent === true;
  }

  /**
   * One process at a time opens a session's thread: the others are proven gone first (architecture.md 4.2, Retry). False: the attempt is not
   * current any more.
   */
  async function clearTheWay(attempt: LaunchFacts): Promise<boolean> {
    for (const other of await otherRunnersOfSession(pool, attempt.jobName)) {
      if (!(await isStillWanted(attempt))) return false;
      notifier.notify('agentrun_runner', other);
      await stop(other);
    }
    return isStillWanted(attempt);
  }

  async function launchOrRefuse(launch: RunnerLaunch): Promise<void> {
    try {
      await heartbeating(`launching ${launch.jobName}`, () =>
        launcher.launch(launch, Context.current().cancellationSignal),
      );
    } catch (error) {
      if (!(error instanceof PrerequisiteError) && !(error instanceof LaunchRefusedError)) throw error;
      throw ApplicationFailure.create({
        type: error instanceof LaunchRefusedError ? error.failureKind : 'prerequisite-failed',
        message: error.message,
        nonRetryable: true,
        cause: error,
      });
    }
  }

  async function afterLaunch(jobName: string): Promise<void> {
    try {
      await dependencies.onLaunched?.();
    } catch (cause) {
      Context.current().log.warn('what follows a launch was not begun', { jobName, cause });
    }
  }

  return {
    async launchRunner({ runId, epoch }) {
      const facts = await loadLaunchFacts(pool, runId, epoch);
      if (facts === undefined) {
        throw ApplicationFailure.nonRetryable(
          `attempt ${epoch} of ${runId} has no runner job`,
          'infra-failed',
        );
      }
      if (!facts.isCurrent) return;
      if (!(await clearTheWay(facts))) return;
      const { jobId, jobName } = facts;
      const launch: RunnerLaunch = {
        ...facts,
        launchToken: await dependencies.mintLaunchToken({ runId, epoch, jobId, jobName }),
      };
      const files = await findFilesFacts(pool, facts.sessionId);
      if (files === undefined) return;
      const phase = await prepareFiles(pool, storage, files);
      await launchOrRefuse(launch);
      // This step stood still, and the attempt was ended meanwhile: what it made now is nobody's.
      if ((await findRunner(pool, jobName))?.state === 'gone') {
        await stop(jobName);
        return;
      }
      if (!(await areStillWanted(pool, storage, files))) {
        await stop(jobName);
        // Once more: what the runner wrote before it was gone.
        await areStillWanted(pool, storage, files);
        return;
      }
      // On its own: the session's row is locked before the run's.
      await noteStorageMade(pool, facts.sessionId, phase);
      await noteLaunched(pool, facts);
      await afterLaunch(jobName);
    },

    async stopRunner({ jobName }) {
      await stop(jobName);
    },

    async announceTurnEnd({ runId, nextCommandIds }) {
      const whom = await whomToNotify(pool, runId);
      if (whom === null) return;
      const input: SessionInput = {
        sessionId: whom.sessionId,
        tenantId: whom.tenantId,
        projectId: whom.projectId,
      };
      await client.workflow.signalWithStart(workflowTypes.session, {
        ...sessionStart(input),
        signal: turnEndedSignal,
        signalArgs: [{ runId, nextCommandIds }],
      });
      if (whom.notifyWorkflowId !== null) {
        await unlessEnded(
          client.workflow.getHandle(whom.notifyWorkflowId).signal(taskRunEndedSignal, { runId }),
        );
      }
    },

    async cancelRun({ runId, reason, deadlineMs }) {
      try {
        await client.workflow
          .getHandle(turnWorkflowId(runId))
          .executeUpdate(cancelUpdate, { args: [{ reason, deadlineMs: deadlineMs ?? null }] });
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError) && !endedFirst(error)) throw error;
        // Behind another turn it ends at once; else its workflow has just ended or is about to start, and reads the request then.
        if (await cancelPendingRun(pool, runId, reason)) notifier.notify('agentrun_webhook', 'due');
        else await requestCancel(pool, runId, reason, deadlineMs ?? null);
      }
      notifier.notify('agentrun_run', runId);
      notifier.notify('agentrun_attempt', runId);
    },

    async sendToSession({ commandId, ...input }) {
      const start = new WithStartWorkflowOperation(workflowTypes.session, {
        ...sessionStart(input),
        workflowIdConflictPolicy: 'USE_EXISTING',
      });
      try {
        await client.workflow.executeUpdateWithStart(sendUpdate, {
          args: [{ commandId }],
          updateId: commandId,
          startWorkflowOperation: start,
        });
      } catch (error) {
        const refusal = refusalBy(error);
        if (refusal === undefined) throw error;
        await refuseMessage(pool, commandId, refusal);
      }
    },
  };
}

function sessionStart(input: SessionInput) {
  return {
    workflowId: sessionWorkflowId(input.sessionId),
    taskQueue: mainTaskQueue,
    args: [input] as [SessionInput],
    typedSearchAttributes: sessionAttributes(input),
    staticSummary: `session ${input.sessionId}`,
  };
}

/**
 * Says every few seconds that a long step goes on: without it the server would start it again beside itself. Also after a cancel, until the step has ended;
 * no more when the server has given this try up.
 */
export async function heartbeating<T>(phase: string, work: () => Promise<T>): Promise<T> {
  const context = Context.current();
  context.heartbeat({ phase });
  const timer = setInterval(() => {
    const { timedOut = false, notFound = false } = context.cancellationDetails ?? {};
    if (timedOut || notFound) clearInterval(timer);
    else context.heartbeat({ phase });
  }, heartbeatMs);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** The failure that an Update ended with, below what wraps it. */
function updateFailure(error: unknown): ApplicationFailure | undefined {
  if (!(error instanceof WorkflowUpdateFailedError)) return undefined;
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ApplicationFailure) return cause;
  }
  return undefined;
}

/** The workflow ended between the question and its answer. */
const endedFirst = (error: unknown): boolean =>
  updateFailure(error)?.type === 'AcceptedUpdateCompletedWorkflow';

/** What the session's workflow failed an Update with for good: the server answers a repeat the same. */
function refusalBy(error: unknown): { failureKind: string; message: string } | undefined {
  const failure = updateFailure(error);
  if (failure?.nonRetryable !== true || endedFirst(error)) return undefined;
  return { failureKind: failure.type ?? 'infra-failed', message: failure.message };
}

/** A task that has ended already re-read its run by itself; telling it is not needed. */
async function unlessEnded(signalled: Promise<void>): Promise<void> {
  try {
    await signalled;
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}
