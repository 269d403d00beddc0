import { commandRecordSchema } from '../../../contract/commands.js';
import { queueTaskRecordSchema } from '../../../contract/queue.js';
import type { OperationId } from '../../../contract/routes/index.js';
import { assignmentSchema } from '../../../contract/runners.js';
import { runRecordSchema } from '../../../contract/runs.js';
import { webhookDeliverySchema, webhookSchema } from '../../../contract/webhooks.js';
import type { TestApi } from '../../support/api.js';
import type { TestDatabase } from '../../support/postgres.js';
import {
  launchTokenOf,
  newSessionId,
  owner,
  type ServingRunner,
  send,
  startTurn,
} from '../../support/turns.js';

/** What a route is asked so that it succeeds. */
export interface Asked {
  readonly params?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Default: the admin's. */
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Where the things are made that a route is asked about. All of them are of the tenant `acme`. */
export interface World {
  readonly api: TestApi;
  readonly database: TestDatabase;
}

const leaseMs = 60_000;
const requestId = (runId: string) => runId.replace('run_', 'req_');
const ofTurn = ({ sessionId, runId, promptId, jobId }: ServingRunner) => ({
  sessionId,
  runId,
  commandId: promptId,
  runnerJobId: jobId,
});

async function session({ api }: World): Promise<{ params: { sessionId: string } }> {
  const sessionId = newSessionId();
  const { status, text } = await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
  if (status !== 200) throw new Error(text);
  return { params: { sessionId } };
}

/** A turn that a runner of ours serves. */
const turn = async ({ api }: World): Promise<Asked> => ({ params: ofTurn(await startTurn(api)) });
const asRunner =
  (body?: (runner: ServingRunner) => unknown) =>
  async ({ api }: World): Promise<Asked> => {
    const runner = await startTurn(api);
    return { params: ofTurn(runner), token: runner.runToken, ...(body && { body: body(runner) }) };
  };

const createRun = ({ api }: World) => api.data(runRecordSchema, 'POST', '/api/v1/runs', { body: owner });
const prompt = { type: 'turn', payload: { prompt: 'do it' } };

/** A run that waits for a runner which somebody else starts. */
async function waiting(world: World): Promise<{ runId: string; commandId: string }> {
  const { id: runId } = await createRun(world);
  const path = `/api/v1/runs/${runId}/commands`;
  const { id: commandId } = await world.api.data(commandRecordSchema, 'POST', path, { body: prompt });
  return { runId, commandId };
}

/** The same, claimed with an API token. */
export async function external(
  world: World,
): Promise<{ runId: string; commandId: string; runnerId: string }> {
  const ids = await waiting(world);
  const body = { runnerId: 'their-runner', leaseMs };
  await world.api.data(assignmentSchema, 'POST', `/api/v1/runs/${ids.runId}/claim`, { body });
  return { ...ids, runnerId: body.runnerId };
}

async function task(world: World): Promise<Asked> {
  const body = { ...owner, prompt: 'do it' };
  const created = await world.api.data(queueTaskRecordSchema, 'POST', '/api/v1/queue/tasks', { body });
  return { params: { taskId: created.id } };
}

/** A tenant has fifty webhooks at most, and many are made here. */
async function roomForWebhooks({ database }: World): Promise<Asked> {
  await database.pool.query(
    `update webhooks set deleted_at = now() where deleted_at is null
       and webhook_id not in (select webhook_id from webhooks order by webhook_id desc limit 10)`,
  );
  return {};
}

async function webhook(world: World) {
  const { api } = world;
  await roomForWebhooks(world);
  const body = { ...owner, url: 'https://hooks.example.com/agentrun' };
  const { id } = await api.data(webhookSchema, 'POST', '/api/v1/webhooks', { body });
  return { params: { webhookId: id } };
}

async function delivery(world: World): Promise<Asked> {
  const { params } = await webhook(world);
  const path = `/api/v1/webhooks/${params.webhookId}/test`;
  const { id } = await world.api.data(webhookDeliverySchema, 'POST', path);
  return { params: { ...params, deliveryId: id } };
}

/** A request of the agent whose time is over. */
async function asking({ api, database }: World): Promise<Asked> {
  const runner = await startTurn(api);
  await database.pool.query(
    `insert into agent_requests (request_id, tenant_id, session_id, run_id, epoch, kind, fingerprint, request, expires_at)
     select $2, tenant_id, session_id, run_id, current_epoch, 'command', 'f', '{"summary": "run make?"}', now() from runs where run_id = $1`,
    [runner.runId, requestId(runner.runId)],
  );
  return { params: { ...ofTurn(runner), requestId: requestId(runner.runId) }, token: runner.runToken };
}

/** A piece of text that nobody watches. */
export const liveText = { after: 0, deltas: [{ itemId: 'item-1', offset: 0, text: 'I look ' }] };

const nothing = (): Promise<Asked> => Promise.resolve({});
const withBody =
  (made: (world: World) => Promise<Asked>, body: unknown) =>
  async (world: World): Promise<Asked> => ({ ...(await made(world)), body });

/** How every route succeeds, each on things of its own. A new route needs its row to compile. */
export const successes: Readonly<Record<OperationId, (world: World) => Promise<Asked>>> = {
  health: nothing,
  liveness: nothing,
  livenessAlias: nothing,
  readiness: nothing,
  readinessAlias: nothing,
  whoami: nothing,
  listBackends: nothing,

  listSessions: nothing,
  createSession: withBody(nothing, { ...owner, labels: { team: 'core' } }),
  getSession: turn,
  deleteSession: session,
  archiveSession: session,
  unarchiveSession: session,
  getSessionTrace: turn,
  getSessionOutput: turn,
  send: withBody(session, { prompt: 'do it' }),
  readSession: withBody(session, { readerId: 'me' }),
  controlSession: withBody(turn, { action: 'cancel', reason: 'enough' }),

  getStorage: session,
  evictStorage: session,
  refreshStorage: withBody(session, { pvcPhase: 'Bound' }),
  collectStorage: nothing,

  createRun: withBody(nothing, owner),
  listRuns: nothing,
  getRun: turn,
  listRunEvents: turn,
  getRunResult: turn,
  cancelRun: withBody(turn, { reason: 'enough' }),
  createRunnerJob: async (world) => {
    const { runId, commandId } = await waiting(world);
    return { params: { runId }, body: { commandId } };
  },
  listRunnerJobs: turn,
  getRunnerJob: turn,
  listRunRequests: turn,
  listSessionRequests: turn,
  expireRequest: asking,

  createCommand: async (world) => ({ params: { runId: (await createRun(world)).id }, body: prompt }),
  listCommands: turn,
  getCommand: turn,
  getCommandResult: turn,
  acknowledgeCommand: asRunner(),
  finishCommand: async (world) => {
    const ids = await external(world);
    await world.api.call('POST', `/api/v1/commands/${ids.commandId}/ack`);
    return { params: ids, body: { terminalStatus: 'completed' } };
  },
  cancelCommand: withBody(turn, { reason: 'enough' }),

  claimRun: async (world) => ({
    params: await waiting(world),
    body: { runnerId: 'their-runner', leaseMs },
  }),
  renewLease: asRunner(({ runnerId }) => ({ runnerId, leaseMs })),
  ingestEvents: async (world) => ({
    ...(await asRunner(
      () => `${JSON.stringify({ seq: 1, event: { type: 'agent_message', payload: { text: 'hello' } } })}\n`,
    )(world)),
    headers: { 'content-type': 'application/x-ndjson' },
  }),
  sendDeltas: asRunner(() => liveText),
  appendEvent: async (world) => ({
    params: await external(world),
    body: { type: 'backend_status', payload: { phase: 'working' } },
  }),
  finishAttempt: asRunner(() => ({ terminalStatus: 'completed' })),
  listRunners: nothing,
  registerRunner: async ({ api }) => {
    const sent = await send(api, newSessionId(), 'do it');
    const capabilities = { steer: true, interrupt: true, resume: 'none', approvals: false, usage: 'none' };
    return {
      token: await launchTokenOf(api, sent),
      body: {
        jobId: sent.runnerJob?.id,
        backend: 'codex',
        version: '1',
        capabilities: { ...capabilities, messageIds: false, diff: false },
      },
    };
  },
  nextWork: async ({ api }) => {
    const { runnerId, runnerToken } = await startTurn(api);
    return { params: { runnerId }, token: runnerToken };
  },
  renewRunner: async ({ api }) => {
    const { runnerId, runnerToken } = await startTurn(api);
    return { params: { runnerId }, token: runnerToken, body: { leaseMs } };
  },

  createQueueTask: withBody(nothing, { ...owner, prompt: 'do it' }),
  getQueueTask: task,
  dispatchQueueTask: withBody(task, {}),
  cancelQueueTask: withBody(task, { reason: 'enough' }),

  streamRun: turn,
  streamSession: turn,
  streamFeed: turn,

  listAudit: nothing,

  createWebhook: withBody(roomForWebhooks, { ...owner, url: 'https://hooks.example.com/agentrun' }),
  listWebhooks: nothing,
  getWebhook: webhook,
  updateWebhook: withBody(webhook, { description: 'ours', state: 'paused' }),
  deleteWebhook: webhook,
  rotateWebhookSecret: withBody(webhook, {}),
  testWebhook: webhook,
  listWebhookDeliveries: webhook,
  redeliverWebhook: delivery,
};
