import { AgentRunError } from '../../contract/errors.js';
import { idPrefixes } from '../../contract/ids.js';
import { registerSchema } from '../../contract/runners.js';
import { heartbeatIntervalMs } from '../../store/assignments.js';
import { idleHeartbeat } from '../../store/leases.js';
import { newId } from '../../store/new-id.js';
import { nextWork, registerRunner } from '../../store/runners.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { longPoll } from '../long-poll.js';
import { implement, type Route } from '../route.js';
import { withRunToken } from '../run-token.js';
import { parsePart } from '../validation.js';

/** A look this often, whatever the wake-ups say: the hand-over is what a follow-up waits for. */
const nextPollMs = 1_000;

/** A runner between turns (decisions.md, "runner routes of ours"). */
export function runnerRoutes(deps: ApiDeps): Route[] {
  const { pool } = deps;
  return [
    implement('registerRunner', async ({ body, caller }) => {
      // An old client's runner has no job: its claim writes the row (decisions.md, Auth).
      if (caller.kind !== 'launch') return unboundRunner(body.runnerId ?? newId(idPrefixes.runner));
      const { run: runId, epoch, job: jobName, jobId } = caller.claims;
      if (body.jobId !== jobId) throw new AgentRunError('forbidden', 'jobId: the token is for another job');
      const { runnerId: named } = body;
      const { version, capabilities } = parsePart(supervisorSchema, body, 'body');
      const registered = await registerRunner(
        pool,
        { runId, epoch, jobName, jobId },
        { version, capabilities, ...(named === undefined ? {} : { runnerId: named }) },
      );
      const { runnerId, sessionId, expiresAtMs } = registered;
      const { token, expiresAt } = await deps.runnerTokens.mintRunner(
        { runner: runnerId, job: jobName, session: sessionId },
        expiresAtMs,
      );
      return { runnerId, jobId, runnerToken: token, runnerTokenExpiresAt: expiresAt };
    }),
    implement('nextWork', async ({ params: { runnerId }, query, caller, signal }) => {
      const runner = runnerOfToken(caller, runnerId);
      const found = await longPoll(deps, {
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
    }),
    implement('renewRunner', async ({ params: { runnerId }, body, caller }) => {
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
    }),
  ];
}

/** What a supervisor with a launch token must say of itself. */
const supervisorSchema = registerSchema.required({ backend: true, version: true, capabilities: true });

const unboundRunner = (runnerId: string) => ({
  runnerId,
  jobId: null,
  runnerToken: null,
  runnerTokenExpiresAt: null,
});

function runnerOfToken(caller: Caller, runnerId: string): { runnerId: string; jobName: string } {
  if (caller.kind !== 'runner') throw new AgentRunError('unauthorized', 'this route takes a runner token');
  if (caller.claims.runner !== runnerId)
    throw new AgentRunError('forbidden', 'the token belongs to another runner');
  return { runnerId, jobName: caller.claims.job };
}
