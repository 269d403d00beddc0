import { AgentRunError } from '../../contract/errors.js';
import { claim, ensureExternalRunner } from '../../store/claims.js';
import { insertDeltas } from '../../store/deltas.js';
import { heartbeat, servedAttempt } from '../../store/leases.js';
import { storeOutcome } from '../../store/outcomes.js';
import { fenced, type RunnerIdentity } from '../../store/runner-identity.js';
import { getRun } from '../../store/runs.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { appendEvent, ingestEvents } from '../ingest-events.js';
import { implement, type Route } from '../route.js';
import { withRunToken } from '../run-token.js';
import { runnerOf, tenantOf } from '../tenancy.js';

/** What a runner does for the run that it serves (architecture.md 5, 6). Postgres only: an outage of Temporal stops none of it. */
export function runnerRunRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  return [
    implement('claimRun', async ({ params: { runId }, body, caller }) => {
      const runner = await claimant(deps, caller, runId, body.runnerId);
      const facts = await claim(pool, runner, body.leaseMs);
      notifier.notify('agentrun_run', runId);
      notifier.notify('agentrun_attempt', runId);
      return withRunToken(deps, runner, facts);
    }),
    implement('renewLease', async ({ params: { runId }, body, caller }) => {
      const runner = await heartbeating(deps, caller, runId);
      if (runner.runnerId !== body.runnerId) throw anotherRunner(caller, runId);
      const facts = await heartbeat(pool, runner, { leaseMs: body.leaseMs, progress: body.progress });
      notifier.notify('agentrun_run', runId);
      notifier.notify('agentrun_attempt', runId);
      return withRunToken(deps, runner, { runId, epoch: runner.epoch, ...facts });
    }),
    implement('ingestEvents', (request) => ingestEvents(deps, request)),
    implement('sendDeltas', async ({ params: { runId }, body, caller }) => {
      const answer = await insertDeltas(pool, await runnerOf(deps, caller, runId), body);
      if (answer.accepted > 0) notifier.notify('agentrun_delta', runId);
      return answer;
    }),
    implement('appendEvent', (request) => appendEvent(deps, request)),
    implement('finishAttempt', async ({ params: { runId }, body, caller }) => {
      const runner = await runnerOf(deps, caller, runId);
      const stored = await storeOutcome(pool, runner, body);
      notifier.notify('agentrun_run', runId);
      notifier.notify('agentrun_attempt', runId);
      notifier.notify('agentrun_runner', runner.jobName);
      return { ...stored };
    }),
  ];
}

/** An API token is nobody's in particular: its runner lost the run to the one that claimed it, as its claim would say. */
function anotherRunner(caller: Caller, runId: string): AgentRunError {
  return caller.kind === 'api'
    ? fenced(`runnerId: run ${runId} belongs to another runner`)
    : new AgentRunError('forbidden', 'runnerId: the token belongs to another runner');
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
