import { z } from 'zod';
import { commandRecordSchema, createCommandSchema, outcomeSchema } from '../../contract/commands.js';
import { AgentRunError } from '../../contract/errors.js';
import { commandIdSchema, runIdSchema } from '../../contract/ids.js';
import { commandPageSchema } from '../../contract/runners.js';
import {
  cancelObservationSchema,
  cancelSchema,
  type RunRecord,
  runResultSchema,
} from '../../contract/runs.js';
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
import { cancelRun, observeCancel } from '../cancel-run.js';
import type { ApiDeps } from '../deps.js';
import { longPoll } from '../long-poll.js';
import { defineRoute, ignored, type Route } from '../route.js';
import { sendMessage } from '../send-message.js';
import { runnerOf, tenantOf } from '../tenancy.js';
import { integerQuery, waitMsQuery } from '../validation.js';

const runParams = z.object({ runId: runIdSchema });
const commandParams = z.object({ commandId: commandIdSchema });
const runCommandParams = runParams.extend(commandParams.shape);

/** Commands under a run, and the routes of a command (contract.md 5.6, 6). */
export function commandRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  const commandOfRun = async (runId: string, commandId: string, tenantId: string | undefined) => {
    const command = await getCommand(pool, commandId, tenantId);
    if (command.runId === runId) return command;
    throw new AgentRunError('not-found', `command ${commandId} is not one of run ${runId}`);
  };
  return [
    defineRoute({
      method: 'post',
      path: '/api/v1/runs/:runId/commands',
      summary: 'A turn begins this run, or the next one of its session; a steer goes the way of a send.',
      auth: { api: 'operate' },
      params: runParams,
      query: ignored,
      body: createCommandSchema,
      data: commandRecordSchema,
      handle: async ({ params: { runId }, body, caller, trace }) => {
        const run = await getRun(pool, runId, tenantOf(caller));
        const begins = body.type === 'turn' && (await isUnbegun(deps, run));
        const { commandId } = await sendMessage(deps, {
          tenantId: run.tenantId,
          projectId: run.projectId,
          sessionId: run.sessionId,
          route: `POST /api/v1/runs/${runId}/commands`,
          idempotencyKey: body.idempotencyKey ?? null,
          body: {
            payload: body.payload,
            whenBusy: body.type === 'turn' ? 'queue' : 'steer',
            createRunnerJob: run.launcher !== 'external',
          },
          runId: begins ? runId : null,
          traceparent: trace.traceparent,
        });
        return getCommand(pool, commandId);
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/commands',
      summary:
        'Commands after `afterSeq`; with `waitMs` a long poll that a cancel or the end of steering ends too.',
      auth: { api: 'read', run: true },
      params: runParams,
      query: z.object({
        afterSeq: integerQuery({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }),
        limit: integerQuery({ min: 1, max: 500, default: 20 }),
        waitMs: waitMsQuery,
      }),
      body: ignored,
      data: commandPageSchema,
      handle: async ({ params: { runId }, query, caller, signal }) => {
        const runner = caller.kind === 'run' ? await runnerOf(deps, caller, runId) : undefined;
        if (runner === undefined) await getRun(pool, runId, tenantOf(caller));
        const { currentEpoch, ...page } = await longPoll(deps.listener, {
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
            (runner !== undefined && found.currentEpoch !== runner.epoch),
        });
        if (runner !== undefined && currentEpoch !== runner.epoch) {
          throw fenced(`attempt ${runner.epoch} of run ${runId} was replaced by attempt ${currentEpoch}`);
        }
        return page;
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/commands/:commandId',
      summary: 'A command; with a run token as it stands for the runner that holds the run.',
      auth: { api: 'read', run: true },
      params: runCommandParams,
      query: ignored,
      body: ignored,
      data: commandRecordSchema,
      handle: async ({ params: { runId, commandId }, caller }) => {
        if (caller.kind === 'run') {
          return getRunnerCommand(pool, await runnerOf(deps, caller, runId), commandId);
        }
        return commandOfRun(runId, commandId, tenantOf(caller));
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/commands/:commandId/result',
      summary: 'The result of the run of this command.',
      auth: { api: 'read' },
      params: runCommandParams,
      query: ignored,
      body: ignored,
      data: runResultSchema,
      handle: async ({ params: { runId, commandId }, caller }) => {
        await commandOfRun(runId, commandId, tenantOf(caller));
        return getRunResult(pool, runId, { commandId });
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/commands/:commandId/ack',
      summary: 'The driver took the command; a repeat answers the same.',
      auth: { api: 'operate', run: true },
      params: commandParams,
      query: ignored,
      body: ignored,
      data: commandRecordSchema,
      handle: async ({ params: { commandId }, caller }) => {
        const { runId } = await getCommand(pool, commandId, tenantOf(caller));
        const command = await acknowledgeCommand(pool, await runnerOf(deps, caller, runId), commandId);
        notifier.notify('agentrun_run', runId);
        return command;
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/api/v1/commands/:commandId/status',
      summary: 'How a command ended, said by its runner.',
      auth: { api: 'operate', run: true },
      params: commandParams,
      query: ignored,
      body: outcomeSchema,
      data: commandRecordSchema,
      handle: async ({ params: { commandId }, body, caller }) => {
        const { runId } = await getCommand(pool, commandId, tenantOf(caller));
        const command = await finishCommand(pool, await runnerOf(deps, caller, runId), commandId, body);
        notifier.notify('agentrun_run', runId);
        return command;
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/commands/:commandId/cancel',
      summary:
        'Withdraws a steer that no runner has acknowledged (`withdrawal: unless-sent`: one may be about to send it); of a prompt, asks for the end of its run.',
      auth: { api: 'operate' },
      params: commandParams,
      query: ignored,
      body: cancelSchema,
      data: commandRecordSchema.extend({
        cancel: cancelObservationSchema,
        withdrawal: z.enum(['certain', 'unless-sent']).nullable(),
      }),
      handle: async ({ params: { commandId }, body, caller, signal }) => {
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
      },
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
