import { z } from 'zod';
import { outcomeSchema } from '../../contract/commands.js';
import { AgentRunError } from '../../contract/errors.js';
import { eventTypeSchema, runEventSchema } from '../../contract/events.js';
import { runIdSchema } from '../../contract/ids.js';
import { ingestAnswerSchema } from '../../contract/ingest.js';
import { jsonObjectSchema } from '../../contract/json.js';
import {
  assignmentSchema,
  claimSchema,
  leaseAnswerSchema,
  leaseSchema,
  outcomeAnswerSchema,
} from '../../contract/runners.js';
import { claim, ensureExternalRunner } from '../../store/claims.js';
import { appendRunnerEvent } from '../../store/events.js';
import { ingest, ingestSpilled } from '../../store/ingest.js';
import { heartbeat, servedAttempt } from '../../store/leases.js';
import { storeOutcome } from '../../store/outcomes.js';
import type { RunnerIdentity } from '../../store/runner-identity.js';
import { getRun } from '../../store/runs.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { readIngestBody } from '../ndjson-body.js';
import { defineRoute, ignored, type Route } from '../route.js';
import { withRunToken } from '../run-token.js';
import { runnerOf, tenantOf } from '../tenancy.js';
import { integerQuery } from '../validation.js';

const params = z.object({ runId: runIdSchema });

/** What a runner does for the run that it serves (architecture.md 5, 6). Postgres only: an outage of Temporal stops none of it. */
export function runnerRunRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  return [
    defineRoute({
      method: 'post',
      path: '/api/v1/runs/:runId/claim',
      summary: 'Takes the current attempt; a repeat by the same runner answers the same.',
      auth: { api: 'operate', launch: true },
      params,
      query: ignored,
      body: claimSchema,
      data: assignmentSchema,
      handle: async ({ params: { runId }, body, caller }) => {
        const runner = await claimant(deps, caller, runId, body.runnerId);
        const facts = await claim(pool, runner, body.leaseMs);
        notifier.notify('agentrun_run', runId);
        notifier.notify('agentrun_attempt', runId);
        return withRunToken(deps, runner, facts);
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/api/v1/runs/:runId/lease',
      summary: 'Heartbeat: renews the lease, answers pending work and a fresh token.',
      auth: { api: 'operate', run: true, runner: true },
      params,
      query: ignored,
      body: leaseSchema,
      data: leaseAnswerSchema,
      handle: async ({ params: { runId }, body, caller }) => {
        const runner = await heartbeating(deps, caller, runId);
        if (runner.runnerId !== body.runnerId)
          throw new AgentRunError('forbidden', 'runnerId: the token belongs to another runner');
        const facts = await heartbeat(pool, runner, { leaseMs: body.leaseMs, progress: body.progress });
        notifier.notify('agentrun_run', runId);
        notifier.notify('agentrun_attempt', runId);
        return withRunToken(deps, runner, { runId, epoch: runner.epoch, ...facts });
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/runs/:runId/ingest',
      summary:
        'Appends a batch of events, exactly once; an empty one asks for lastAcceptedSeq. `spilledEpoch`: late events of an earlier attempt.',
      auth: { api: 'operate', run: true },
      params,
      // Epochs count from 1: without the parameter it is 0.
      query: z.object({ spilledEpoch: integerQuery({ min: 1, max: 1_000_000, default: 0 }) }),
      body: ignored,
      streamsBody: true,
      data: ingestAnswerSchema,
      handle: async ({ params: { runId }, query: { spilledEpoch }, caller, raw }) => {
        const runner = await runnerOf(deps, caller, runId);
        const { lines, problem } = await readIngestBody(raw);
        const { answer, refusal } =
          spilledEpoch === 0
            ? await ingest(pool, runner, lines)
            : { answer: await ingestSpilled(pool, runner, spilledEpoch, lines), refusal: null };
        if (answer.accepted > 0) notifier.notify('agentrun_run', runId);
        if (refusal !== null) throw refusal;
        if (problem !== null) {
          throw new AgentRunError(problem.failureKind, problem.message, {
            details: { ...problem.details, ...answer },
          });
        }
        return answer;
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/runs/:runId/events',
      summary: 'Appends one event without a sequence, for old runners (contract.md 5.3).',
      auth: { api: 'operate', run: true },
      params,
      query: ignored,
      body: z.strictObject({
        type: eventTypeSchema.default('backend_status'),
        payload: jsonObjectSchema.default({}),
      }),
      data: runEventSchema,
      handle: async ({ params: { runId }, body, caller }) => {
        const event = await appendRunnerEvent(pool, await runnerOf(deps, caller, runId), body);
        notifier.notify('agentrun_run', runId);
        return event;
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/api/v1/runs/:runId/status',
      summary: 'How the attempt ended; first writer wins. The run ends by its workflow.',
      auth: { api: 'operate', run: true },
      params,
      query: ignored,
      body: outcomeSchema,
      data: outcomeAnswerSchema,
      handle: async ({ params: { runId }, body, caller }) => {
        const runner = await runnerOf(deps, caller, runId);
        const stored = await storeOutcome(pool, runner, body);
        notifier.notify('agentrun_run', runId);
        notifier.notify('agentrun_attempt', runId);
        notifier.notify('agentrun_runner', runner.jobName);
        return { ...stored };
      },
    }),
  ];
}

/** Who claims: the job of the launch token, or with an API token anybody, for a run that waits for an external runner. */
async function claimant(
  deps: ApiDeps,
  caller: Caller,
  runId: string,
  runnerId: string,
): Promise<RunnerIdentity> {
  if (caller.kind === 'launch') {
    const { run, epoch, job: jobName } = caller.claims;
    if (run !== runId) throw new AgentRunError('forbidden', 'the token is for another run');
    return { runId, epoch, runnerId, jobName };
  }
  const run = await getRun(deps.pool, runId, tenantOf(caller));
  if (run.launcher !== 'external') {
    throw new AgentRunError('forbidden', 'only a run with launcher external is claimed with an API token');
  }
  return ensureExternalRunner(deps.pool, { runId, epoch: run.epoch, runnerId });
}

/** The runner token is good for a heartbeat too: after an outage the run token has expired (decisions.md, Auth). */
async function heartbeating(deps: ApiDeps, caller: Caller, runId: string): Promise<RunnerIdentity> {
  if (caller.kind !== 'runner') return runnerOf(deps, caller, runId);
  return servedAttempt(deps.pool, { runnerId: caller.claims.runner, jobName: caller.claims.job }, runId);
}
