import { type ApiClient, ApiError, RawBody } from '../../client/index.js';
import type { AgentRequest } from '../../contract/agent-requests.js';
import { idPrefixes } from '../../contract/ids.js';
import { routes } from '../../contract/routes/index.js';
import { newId } from '../../store/new-id.js';
import { eventually } from '../support/local-stack.js';

/** Parameters that take the id of a record. */
export const idNames = [
  'sessionId',
  'runId',
  'taskId',
  'commandId',
  'runnerId',
  'runnerJobId',
  'requestId',
] as const;
type IdName = (typeof idNames)[number];

/** Ids of records that exist, by the parameter that takes them. */
export interface FuzzRecords extends Readonly<Record<IdName, string[]>> {
  /** What the routes of a run take beside its id. */
  readonly ofRun: Record<string, Partial<Record<IdName, string>>>;
  /** A cursor of each list that has an opaque one, by operation id. */
  readonly cursorOf: Record<string, string>;
}

const owner = { tenantId: 'fuzz', projectId: 'fuzz' };

/** Enough that those which the cases delete, cancel and finish are not missed. */
const count = 12;

/**
 * Prepares through the API what the cases can hit: sessions, turns that wait for a claim, runs that were only created, that have a command, and that an
 * external runner has claimed, whose agent asks something; and queue tasks.
 */
export async function prepareRecords(client: ApiClient): Promise<FuzzRecords> {
  const records: FuzzRecords = {
    sessionId: [],
    runId: [],
    taskId: [],
    commandId: [],
    runnerId: [],
    runnerJobId: [],
    requestId: [],
    ofRun: {},
    cursorOf: {},
  };
  for (let index = 0; index < count; index += 1) {
    const { session } = await client.call(routes.createSession, {
      body: { ...owner, sessionId: `fuzz-session-${index}`, labels: { nr: String(index) } },
    });
    records.sessionId.push(session.sessionId);
    const task = await client.call(routes.createQueueTask, { body: { ...owner, prompt: 'a task' } });
    records.taskId.push(task.id);
    if (index % 2 === 0) {
      await client.call(routes.send, {
        params: { sessionId: session.sessionId },
        body: { prompt: 'a turn that waits for its claim' },
      });
    }
    await prepareRun(client, records, index);
  }
  for (const list of ['listSessions', 'listRuns', 'listRunners', 'listAudit'] as const) {
    const { nextCursor } = await client.call(routes[list], { query: { limit: 1 } });
    if (nextCursor === null) throw new Error(`${list} has one page only`);
    records.cursorOf[list] = nextCursor;
  }
  return records;
}

/** One run of three stays without a command, one waits for its claim, one is claimed. */
async function prepareRun(client: ApiClient, records: FuzzRecords, index: number): Promise<void> {
  const run = await client.call(routes.createRun, {
    body: { ...owner, sessionRef: { sessionId: `fuzz-run-${index}` } },
  });
  records.runId.push(run.id);
  if (index % 3 === 0) return;
  const params = { runId: run.id };
  const command = await client.call(routes.createCommand, {
    params,
    body: { type: 'turn', payload: { prompt: 'do it' } },
  });
  records.commandId.push(command.id);
  records.ofRun[run.id] = { commandId: command.id };
  if (index % 3 === 1) return;
  const { runnerId } = await client.call(routes.registerRunner, {
    body: { runnerId: `fuzz-runner-${index}` },
  });
  records.runnerId.push(runnerId);
  await claim(client, run.id, runnerId);
  const requestId = newId(idPrefixes.agentRequest);
  await client.call(routes.ingestEvents, {
    params,
    body: new RawBody('application/x-ndjson', askLine(requestId)),
  });
  records.requestId.push(requestId);
  const [job] = (await client.call(routes.listRunnerJobs, { params })).items;
  // An attempt that no launcher serves may have none.
  if (job !== undefined) records.runnerJobId.push(job.id);
  records.ofRun[run.id] = {
    commandId: command.id,
    requestId,
    ...(job === undefined ? {} : { runnerJobId: job.id }),
  };
}

/** The command begins the turn by its workflow, which prepares the attempt: until then there is nothing to claim. */
async function claim(client: ApiClient, runId: string, runnerId: string): Promise<void> {
  const body = { runnerId, leaseMs: 600_000 };
  await eventually(`run ${runId} can be claimed`, () =>
    client.call(routes.claimRun, { params: { runId }, body }).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 409) return undefined;
      throw error;
    }),
  );
}

/** The agent asks whether it may run a command. */
function askLine(requestId: string): string {
  const payload: AgentRequest = {
    requestId,
    kind: 'command',
    itemId: null,
    summary: 'rm -r build',
    command: 'rm -r build',
    cwd: '/',
    reason: null,
    questions: [],
    details: null,
    fingerprint: requestId,
  };
  return `${JSON.stringify({ seq: 1, event: { type: 'approval_requested', payload } })}\n`;
}
