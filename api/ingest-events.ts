import { AgentRunError } from '../contract/errors.js';
import type { RunEvent } from '../contract/events.js';
import type { IngestAnswer } from '../contract/ingest.js';
import { ingest, ingestSpilled } from '../store/ingest.js';
import { storeUncounted } from '../store/runner-event.js';
import type { RunnerIdentity } from '../store/runner-identity.js';
import type { ApiDeps } from './deps.js';
import { markReplayed } from './idempotency-key.js';
import { tellIngest } from './ingest-telemetry.js';
import { type IngestBody, readIngestBody } from './ndjson-body.js';
import type { Handlers } from './route.js';
import { runnerOf } from './tenancy.js';
import { schemaInvalid } from './validation.js';

/**
 * A batch of a runner's events. Whatever is wrong with it, what came whole before the first problem is stored, and the error says how far that is.
 *
 * @throws AgentRunError every one with `lastAcceptedSeq`; `unavailable` while the process ends.
 */
export async function ingestEvents(
  deps: ApiDeps,
  request: Parameters<Handlers['ingestEvents']>[0],
): Promise<IngestAnswer> {
  const { caller, raw, trace } = request;
  const { runId } = request.params;
  const { spilledEpoch } = request.query;
  requireServing(deps);
  const runner = await runnerOf(deps, caller, runId);
  const body = await readIngestBody(raw, deps.ingestBodyMs);
  if (spilledEpoch !== 0) return ingestLate(deps, runner, spilledEpoch, body);
  const result = await ingest(deps.pool, runner, body);
  const { answer, refusal } = result;
  tellIngest(deps, { runId, lines: body.lines, result, trace });
  if (answer.accepted > 0) {
    deps.notifier.notify('agentrun_run', runId);
    if (body.lines.some(({ event }) => event.type === 'approval_requested')) wakeWebhooks(deps);
  }
  if (refusal !== null) throw refusal;
  return unlessBroken(body, answer);
}

/** One event of a runner that counts none: the same way, as the next of its epoch. */
export async function appendEvent(
  deps: ApiDeps,
  request: Parameters<Handlers['appendEvent']>[0],
): Promise<RunEvent> {
  const { body, caller, idempotencyKey, trace } = request;
  const { runId } = request.params;
  requireServing(deps);
  const runner = await runnerOf(deps, caller, runId);
  const stored = await storeUncounted(deps.pool, runner, body, idempotencyKey);
  markReplayed(request, stored.replayed);
  const { event, refusal, quarantined } = stored;
  const seq = event?.seq ?? 0;
  const accepted = event === null || stored.replayed ? 0 : 1;
  tellIngest(deps, {
    runId,
    lines: [{ seq, event: body }],
    result: {
      answer: { accepted, duplicate: stored.replayed ? 1 : 0, lastAcceptedSeq: seq },
      refusal,
      quarantined,
    },
    trace,
  });
  if (refusal !== null) throw refusal;
  if (event === null) throw new Error('an event was neither stored nor refused');
  if (accepted > 0) {
    deps.notifier.notify('agentrun_run', runId);
    if (body.type === 'approval_requested') wakeWebhooks(deps);
  }
  return event;
}

/** A request of the agent may be something to tell (store/webhook-outbox.ts). */
const wakeWebhooks = ({ notifier }: ApiDeps) => notifier.notify('agentrun_webhook', 'due');

/** What a former attempt could not send: it goes to quarantine. */
async function ingestLate(
  { pool, metrics }: ApiDeps,
  runner: RunnerIdentity,
  epoch: number,
  body: IngestBody,
): Promise<IngestAnswer> {
  const answer = await ingestSpilled(pool, runner, epoch, body.lines);
  metrics.eventsQuarantined(answer.accepted);
  metrics.eventsIngested({ accepted: 0, duplicate: answer.duplicate });
  if (body.finalSeq !== null) {
    const sentence = 'expected events only, with spilledEpoch';
    return unlessBroken(
      { problem: schemaInvalid([{ path: 'complete', sentence, received: 'a completion line' }]) },
      answer,
    );
  }
  return unlessBroken(body, answer);
}

/** A batch that could not be read to its end is refused after what came before is stored. */
function unlessBroken({ problem }: Pick<IngestBody, 'problem'>, answer: IngestAnswer): IngestAnswer {
  if (problem === null) return answer;
  throw new AgentRunError(problem.failureKind, problem.message, {
    details: { ...problem.details, ...answer },
  });
}

/** A sender that keeps its connection would hold up the end of the process batch after batch. */
function requireServing({ stopping }: ApiDeps): void {
  if (!stopping.aborted) return;
  throw new AgentRunError('unavailable', 'this process is ending; another one takes the events', {
    retryAfterSeconds: 1,
  });
}
