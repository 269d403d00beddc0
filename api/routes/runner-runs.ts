import { AgentRunError } from '../../contract/errors.js';
import type { IngestAnswer } from '../../contract/ingest.js';
import { claim, ensureExternalRunner } from '../../store/claims.js';
import { appendRunnerEvent } from '../../store/events.js';
import { ingest, ingestSpilled } from '../../store/ingest.js';
import { heartbeat, servedAttempt } from '../../store/leases.js';
import { storeOutcome } from '../../store/outcomes.js';
import { fenced, type RunnerIdentity } from '../../store/runner-identity.js';
import { getRun } from '../../store/runs.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { tellIngest } from '../ingest-telemetry.js';
import { type IngestBody, readIngestBody } from '../ndjson-body.js';
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
    implement('ingestEvents', async ({ params: { runId }, query: { spilledEpoch }, caller, raw, trace }) => {
      const runner = await runnerOf(deps, caller, runId);
      const { lines, problem } = await readIngestBody(raw);
      if (spilledEpoch !== 0) return ingestLate(deps, runner, spilledEpoch, { lines, problem });
      const result = await ingest(pool, runner, lines);
      const { answer, refusal } = result;
      tellIngest(deps, { runId, lines, result, trace });
      if (answer.accepted > 0) notifier.notify('agentrun_run', runId);
      if (refusal !== null) throw refusal;
      return unlessBroken(problem, answer);
    }),
    implement('appendEvent', async ({ params: { runId }, body, caller, trace }) => {
      const event = await appendRunnerEvent(pool, await runnerOf(deps, caller, runId), body);
      notifier.notify('agentrun_run', runId);
      const { seq } = event;
      const answer = { accepted: 1, duplicate: 0, lastAcceptedSeq: seq };
      tellIngest(deps, {
        runId,
        lines: [{ seq, event: body }],
        result: { answer, refusal: null, quarantined: 0 },
        trace,
      });
      return event;
    }),
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

/** What a former attempt could not send: it goes to quarantine. */
async function ingestLate(
  { pool, metrics }: ApiDeps,
  runner: RunnerIdentity,
  epoch: number,
  { lines, problem }: IngestBody,
): Promise<IngestAnswer> {
  const answer = await ingestSpilled(pool, runner, epoch, lines);
  metrics.eventsQuarantined(answer.accepted);
  metrics.eventsIngested({ accepted: 0, duplicate: answer.duplicate });
  return unlessBroken(problem, answer);
}

/** A batch that could not be read to its end is refused after what came before is stored. */
function unlessBroken(problem: AgentRunError | null, answer: IngestAnswer): IngestAnswer {
  if (problem === null) return answer;
  throw new AgentRunError(problem.failureKind, problem.message, {
    details: { ...problem.details, ...answer },
  });
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
