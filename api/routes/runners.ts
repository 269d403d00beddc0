import { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import {
  nextAnswerSchema,
  registerAnswerSchema,
  registerSchema,
  runnerLeaseAnswerSchema,
  runnerLeaseSchema,
} from '../../contract/runners.js';
import { textSchema } from '../../contract/runs.js';
import { heartbeatIntervalMs } from '../../store/assignments.js';
import { idleHeartbeat } from '../../store/leases.js';
import { nextWork, registerRunner } from '../../store/runners.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { longPoll } from '../long-poll.js';
import { defineRoute, ignored, type Route } from '../route.js';
import { withRunToken } from '../run-token.js';
import { waitMsQuery } from '../validation.js';

const params = z.object({ runnerId: textSchema });

/** A look this often, whatever the wake-ups say: the hand-over is what a follow-up waits for. */
const nextPollMs = 1_000;

/** A runner between turns (decisions.md, "runner routes of ours"). */
export function runnerRoutes(deps: ApiDeps): Route[] {
  const { pool } = deps;
  return [
    defineRoute({
      method: 'post',
      path: '/api/v1/runners/register',
      summary: 'Makes a start of a supervisor the runner instance of its job.',
      auth: { launch: true },
      params: ignored,
      query: ignored,
      body: registerSchema,
      data: registerAnswerSchema,
      handle: async ({ body, caller }) => {
        if (caller.kind !== 'launch')
          throw new AgentRunError('unauthorized', 'this route takes a launch token');
        const { run: runId, epoch, job: jobName, jobId } = caller.claims;
        if (body.jobId !== jobId) throw new AgentRunError('forbidden', 'jobId: the token is for another job');
        const registered = await registerRunner(pool, { runId, epoch, jobName, jobId }, body);
        const { runnerId, sessionId, expiresAtMs } = registered;
        const { token, expiresAt } = await deps.runnerTokens.mintRunner(
          { runner: runnerId, job: jobName, session: sessionId },
          expiresAtMs,
        );
        return { runnerId, jobId, runnerToken: token, runnerTokenExpiresAt: expiresAt };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runners/:runnerId/next',
      summary: 'What an idle runner does next: a run, close, or neither when the wait is over.',
      auth: { runner: true },
      params,
      query: z.object({ waitMs: waitMsQuery }),
      body: ignored,
      data: nextAnswerSchema,
      handle: async ({ params: { runnerId }, query, caller, signal }) => {
        const runner = runnerOfToken(caller, runnerId);
        const found = await longPoll(deps.listener, {
          channel: 'agentrun_runner',
          key: runner.jobName,
          waitMs: query.waitMs,
          signal,
          atLeastEveryMs: nextPollMs,
          look: () => nextWork(pool, runner),
          isDone: (work) => work.kind !== 'wait',
        });
        if (found.kind !== 'assignment') return { assignment: null, close: found.kind === 'close' };
        return { assignment: await withRunToken(deps, found.runner, found.facts), close: false };
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/api/v1/runners/:runnerId/lease',
      summary: 'Heartbeat of an idle runner; answers a fresh runner token.',
      auth: { runner: true },
      params,
      query: ignored,
      body: runnerLeaseSchema,
      data: runnerLeaseAnswerSchema,
      handle: async ({ params: { runnerId }, body, caller }) => {
        const runner = runnerOfToken(caller, runnerId);
        const { state, leaseExpiresAt, idleUntil, expiresAtMs, sessionId } = await idleHeartbeat(
          pool,
          runner,
          body.leaseMs,
        );
        const { token } = await deps.runnerTokens.mintRunner(
          { runner: runnerId, job: runner.jobName, session: sessionId },
          expiresAtMs,
        );
        const nextHeartbeatMs = heartbeatIntervalMs(body.leaseMs);
        return { runnerId, state, leaseExpiresAt, idleUntil, runnerToken: token, nextHeartbeatMs };
      },
    }),
  ];
}

function runnerOfToken(caller: Caller, runnerId: string): { runnerId: string; jobName: string } {
  if (caller.kind !== 'runner') throw new AgentRunError('unauthorized', 'this route takes a runner token');
  if (caller.claims.runner !== runnerId)
    throw new AgentRunError('forbidden', 'the token belongs to another runner');
  return { runnerId, jobName: caller.claims.job };
}
