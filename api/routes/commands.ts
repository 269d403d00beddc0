import { AgentRunError } from '../../contract/errors.js';
import type { RunRecord } from '../../contract/runs.js';
import type { MessageBody } from '../../store/accept-message.js';
import {
  acknowledgeCommand,
  cancelSteer,
  finishCommand,
  getCommand,
  getRunnerCommand,
  listCommands,
  readCommandPage,
} from '../../store/commands.js';
import { getRunResult } from '../../store/run-results.js';
import { fenced } from '../../store/runner-identity.js';
import { getRun } from '../../store/runs.js';
import type { Caller } from '../auth.js';
import { cancelRun, observeCancel } from '../cancel-run.js';
import type { ApiDeps } from '../deps.js';
import { markReplayed, requestKey } from '../idempotency-key.js';
import { longPoll } from '../long-poll.js';
import { implement, type Route } from '../route.js';
import { sendMessage } from '../send-message.js';
import { runnerOf, tenantOf } from '../tenancy.js';

/** Commands under a run, and the routes of a command (contract.md 5.6, 6). */
export function commandRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  const commandOfRun = async (runId: string, commandId: string, tenantId: string | undefined) => {
    const command = await getCommand(pool, commandId, tenantId);
    if (command.runId === runId) return command;
    throw new AgentRunError('not-found', `command ${commandId} is not one of run ${runId}`);
  };
  /** A runner is not told whether a command that is none of its run's exists. */
  const commandOf = async (caller: Caller, commandId: string) => {
    const command = await getCommand(pool, commandId, tenantOf(caller));
    if (caller.kind !== 'run' || command.runId === caller.runner.runId) return command;
    throw new AgentRunError('not-found', `command ${commandId} does not exist`);
  };
  return [
    implement('createCommand', async (request) => {
      const { params, body, caller, trace } = request;
      const { runId } = params;
      const run = await getRun(pool, runId, tenantOf(caller));
      const begins = body.type === 'turn' && (await isUnbegun(deps, run));
      const bodyFor = (createRunnerJob: boolean): MessageBody => ({
        payload: body.payload,
        whenBusy: body.type === 'turn' ? 'queue' : 'steer',
        createRunnerJob,
      });
      const { commandId, replayed } = await sendMessage(deps, {
        tenantId: run.tenantId,
        projectId: run.projectId,
        sessionId: run.sessionId,
        route: `POST /api/v1/runs/${runId}/commands`,
        idempotencyKey: requestKey(request.idempotencyKey, { idempotencyKey: body.idempotencyKey }),
        body: {
          ...bodyFor(run.launcher !== 'external'),
          ...(body.type === 'steer' ? { steers: runId } : {}),
        },
        runId: begins ? runId : null,
        // At the repeat the run has begun, or was given a launcher.
        sameRequests: [runId, null].flatMap((begun) =>
          [true, false].map((createRunnerJob) => ({ runId: begun, body: bodyFor(createRunnerJob) })),
        ),
        traceparent: trace.traceparent,
      });
      markReplayed(request, replayed);
      return getCommand(pool, commandId);
    }),
    implement('listCommands', async ({ params: { runId }, query, caller, signal }) => {
      const runner = caller.kind === 'run' ? await runnerOf(deps, caller, runId) : undefined;
      if (runner === undefined) await getRun(pool, runId, tenantOf(caller));
      const { currentEpoch, ...page } = await longPoll(deps, {
        // Not every event of the run: a runner that waits for commands is not woken by its own transcript.
        channel: 'agentrun_attempt',
        key: runId,
        waitMs: query.waitMs,
        signal,
        look: () => readCommandPage(pool, runId, { ...query, forRunner: runner !== undefined }),
        isDone: (found) =>
          found.items.length > 0 ||
          found.cancelRequested ||
          !found.open ||
          (runner !== undefined &&
            (found.currentEpoch !== runner.epoch ||
              (query.watched !== undefined && String(found.watched) !== query.watched))),
      });
      if (runner !== undefined && currentEpoch !== runner.epoch) {
        throw fenced(`attempt ${runner.epoch} of run ${runId} was replaced by attempt ${currentEpoch}`);
      }
      return page;
    }),
    implement('getCommand', async ({ params: { runId, commandId }, caller }) => {
      if (caller.kind === 'run') {
        return getRunnerCommand(pool, await runnerOf(deps, caller, runId), commandId);
      }
      return commandOfRun(runId, commandId, tenantOf(caller));
    }),
    implement('getCommandResult', async ({ params: { runId, commandId }, caller }) => {
      await commandOfRun(runId, commandId, tenantOf(caller));
      return getRunResult(pool, runId, { commandId });
    }),
    implement('acknowledgeCommand', async ({ params: { commandId }, caller }) => {
      const { runId } = await commandOf(caller, commandId);
      const command = await acknowledgeCommand(pool, await runnerOf(deps, caller, runId), commandId);
      notifier.notify('agentrun_run', runId);
      return command;
    }),
    implement('finishCommand', async ({ params: { commandId }, body, caller }) => {
      const { runId } = await commandOf(caller, commandId);
      const command = await finishCommand(pool, await runnerOf(deps, caller, runId), commandId, body);
      notifier.notify('agentrun_run', runId);
      return command;
    }),
    implement('cancelCommand', async ({ params: { commandId }, body, caller, signal }) => {
      const command = await getCommand(pool, commandId, tenantOf(caller));
      if (command.type === 'turn') {
        const { cancel } = await cancelRun(deps, await getRun(pool, command.runId), body, signal);
        return { ...(await getCommand(pool, commandId)), cancel, withdrawal: null };
      }
      const { command: withdrawn, sendable } = await cancelSteer(pool, command, body.reason);
      notifier.notify('agentrun_run', command.runId);
      const { runStatus } = await observeCancel(deps, command.runId, true);
      return {
        ...withdrawn,
        withdrawal: sendable ? ('unless-sent' as const) : ('certain' as const),
        cancel: { requested: command.state !== 'cancelled', observed: [], runStatus },
      };
    }),
  ];
}

/** Whether a run still waits for its first turn command. */
async function isUnbegun(deps: ApiDeps, run: RunRecord): Promise<boolean> {
  return (
    run.terminalStatus === null &&
    (await listCommands(deps.pool, run.id, { afterSeq: 0, limit: 1 })).length === 0
  );
}
