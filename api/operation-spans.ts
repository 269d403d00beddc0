import { z } from 'zod';
import type { RequestFailureKind } from '../contract/failure-kinds.js';
import type { OperationId } from '../contract/routes/index.js';
import type { SpanAttribute, SpanDescription } from '../domain/event-spans.js';

/** What became of a request. */
export type OperationOutcome =
  | { readonly kind: 'answered'; readonly query: unknown; readonly data: unknown }
  | { readonly kind: 'failed'; readonly failureKind: RequestFailureKind; readonly message: string };

const run = z.object({
  id: z.string(),
  sessionId: z.string(),
  backendProfile: z.string(),
  providerId: z.string().nullable(),
});
const command = z.object({ id: z.string(), runId: z.string(), type: z.string(), state: z.string() });
const job = z.object({
  runId: z.string(),
  commandId: z.string().nullable(),
  jobName: z.string(),
  namespace: z.string().nullable(),
});
const sent = z.object({
  dryRun: z.literal(false),
  decision: z.string(),
  run,
  command,
  runnerJob: job.nullable(),
});
const result = z.object({ runId: z.string(), terminalStatus: z.string().nullable() });
const events = z.object({ runId: z.string(), items: z.array(z.unknown()) });
const eventQuery = z.object({ afterSeq: z.coerce.number().optional(), limit: z.coerce.number().optional() });

type Describe = (data: unknown, query: unknown) => SpanDescription[];

/** The operations with spans of their own, and the name that a failed one has. */
const operations: Partial<Record<OperationId, { readonly name: string; readonly describe: Describe }>> = {
  createRun: { name: 'run_created', describe: (data) => [runCreated(run.parse(data), {})] },
  createCommand: {
    name: 'command_created',
    describe: (data) => [commandCreated(command.parse(data), {})],
  },
  createRunnerJob: {
    name: 'runner_job_created',
    describe: (data) => [runnerJobCreated(job.parse(data), {})],
  },
  send: { name: 'session_send', describe: sendSpans },
  getRunResult: { name: 'command_result', describe: (data) => [commandResult(data)] },
  getCommandResult: { name: 'command_result', describe: (data) => [commandResult(data)] },
  listRunEvents: { name: 'projection_sync', describe: projectionSync },
};

/**
 * The spans of a request beside its own (contract.md 8.5), empty for most operations. A dry run has none, nor has a poll
 * that brought nothing. A failed request has one, with its error (oddity 48).
 */
export function operationSpans(operationId: OperationId, outcome: OperationOutcome): SpanDescription[] {
  const operation = operations[operationId];
  if (operation === undefined) return [];
  if (outcome.kind === 'answered') return operation.describe(outcome.data, outcome.query);
  const { failureKind, message } = outcome;
  return [{ name: operation.name, error: message, attributes: { failureKind } }];
}

function span(name: string, attributes: Readonly<Record<string, SpanAttribute>>): SpanDescription {
  return { name, error: null, attributes };
}

function runCreated(
  { id, sessionId, backendProfile, providerId }: z.output<typeof run>,
  more: Readonly<Record<string, SpanAttribute>>,
): SpanDescription {
  return span('run_created', { runId: id, sessionId, backendProfile, providerId, ...more });
}

function commandCreated(
  { id, runId, type, state }: z.output<typeof command>,
  more: Readonly<Record<string, SpanAttribute>>,
): SpanDescription {
  return span('command_created', { runId, commandId: id, commandType: type, commandState: state, ...more });
}

function runnerJobCreated(
  { runId, commandId, jobName, namespace }: z.output<typeof job>,
  more: Readonly<Record<string, SpanAttribute>>,
): SpanDescription {
  return span('runner_job_created', { runId, commandId, jobName, namespace, ...more });
}

function sendSpans(data: unknown): SpanDescription[] {
  const parsed = sent.safeParse(data);
  if (!parsed.success) return [];
  const { decision, run: ofRun, command: ofCommand, runnerJob } = parsed.data;
  const ids = { runId: ofRun.id, sessionId: ofRun.sessionId, commandId: ofCommand.id };
  if (decision !== 'turn') {
    return [
      commandCreated(ofCommand, { decision }),
      span('session_send', { ...ids, decision, reusedActiveRun: true }),
    ];
  }
  return [
    runCreated(ofRun, { decision }),
    commandCreated(ofCommand, { decision }),
    ...(runnerJob === null ? [] : [runnerJobCreated(runnerJob, { decision })]),
    span('session_send', { ...ids, decision, createRunnerJob: runnerJob !== null }),
  ];
}

function commandResult(data: unknown): SpanDescription {
  const { runId, terminalStatus } = result.parse(data);
  return span('command_result', { runId, terminalStatus });
}

function projectionSync(data: unknown, query: unknown): SpanDescription[] {
  const { runId, items } = events.parse(data);
  if (items.length === 0) return [];
  const { afterSeq, limit } = eventQuery.parse(query);
  return [
    span('projection_sync', {
      runId,
      afterSeq: afterSeq ?? 0,
      limit: limit ?? null,
      eventCount: items.length,
    }),
  ];
}
