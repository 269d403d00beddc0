import { commandRecordSchema } from '../../../contract/commands.js';
import type { RequestFailureKind } from '../../../contract/failure-kinds.js';
import type { RouteContract } from '../../../contract/route-contract.js';
import type { OperationId } from '../../../contract/routes/index.js';
import { encodeFeedCursor, feedBefore } from '../../../store/feed-position.js';
import { writeAttempt } from '../../../store/turn-steps.js';
import { attemptSettings } from '../../support/api.js';
import { newSessionId, owner, type ServingRunner, send, startTurn } from '../../support/turns.js';
import { type Asked, external, liveText, successes, type World } from './route-fixtures.js';

/** Of the tenant `other`, with scope operate. */
export const otherTenantsToken = 'agr_other_0123456789abcdef';

type How = (world: World) => Promise<Asked>;

/** The kinds that a route declares for itself, and those that follow from its ids and its idempotency key. */
export function declaredKinds({ failures, path, auth, idempotency }: RouteContract): Set<RequestFailureKind> {
  const kinds = new Set(failures);
  if (path.includes('/:') && auth !== 'none' && auth.api !== undefined) kinds.add('not-found');
  if (idempotency === 'key') kinds.add('conflict');
  return kinds;
}

const foreignHost = {
  forbidden: 'needs an API without any token that is asked under the name of another machine: auth tests',
};

/** Kinds that no request to the API of these tests brings about, each with the reason. */
export const shownElsewhere: Partial<Record<OperationId, Partial<Record<RequestFailureKind, string>>>> = {
  ingestEvents: {
    'request-timeout': 'needs a body that stops in its middle: test/api/ingest-status.test.ts',
  },
  health: foreignHost,
  liveness: foreignHost,
  livenessAlias: foreignHost,
  readiness: foreignHost,
  readinessAlias: foreignHost,
};

const idsOf = ({ sessionId, runId, promptId, runnerId }: ServingRunner) => ({
  sessionId,
  runId,
  commandId: promptId,
  runnerId,
});

/** The first request of a key was about another body. */
const keyUsed =
  (id: OperationId, method: string, pathOf: (params: Readonly<Record<string, string>>) => string): How =>
  async (world) => {
    const asked = await successes[id](world);
    const headers = { 'idempotency-key': newSessionId() };
    const first = await world.api.call(method, pathOf(asked.params ?? {}), { ...asked, headers });
    if (first.status !== 200) throw new Error(first.text);
    const body: Record<string, unknown> = { ...Object(asked.body) };
    const other = 'payload' in body ? { payload: { prompt: 'else' } } : { prompt: 'else' };
    const changed = body.prompt === undefined && body.payload === undefined ? { projectId: 'else' } : other;
    return { ...asked, headers, body: { ...body, ...changed } };
  };

/** A route of a run token, asked by the runner whose attempt was replaced. */
const replaced =
  (kind: 'runToken' | 'runnerToken' | 'launchToken', body?: (runner: ServingRunner) => unknown): How =>
  async ({ api, database }) => {
    const runner = await startTurn(api);
    await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
    return { params: idsOf(runner), token: runner[kind], ...(body && { body: body(runner) }) };
  };

const idle = async ({ api }: World): Promise<string> => {
  const sessionId = newSessionId();
  await called(api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } }));
  return sessionId;
};

const evicted = async (world: World): Promise<string> => {
  const sessionId = await idle(world);
  await called(world.api.call('DELETE', `/api/v1/sessions/${sessionId}/storage`));
  return sessionId;
};

async function called<Answer extends { status: number; text: string }>(
  asked: Promise<Answer>,
): Promise<Answer> {
  const answer = await asked;
  if (answer.status !== 200) throw new Error(answer.text);
  return answer;
}

/** A session whose turn a runner serves. */
const busy: How = async ({ api }) => {
  const { sessionId } = await startTurn(api);
  return { params: { sessionId } };
};

/** A run that waits for its runner. */
const unclaimed =
  (body?: unknown): How =>
  async (world) => {
    const { params } = await successes.claimRun(world);
    return { params: params ?? {}, ...(body === undefined ? {} : { body }) };
  };

const ndjson = { 'content-type': 'application/x-ndjson' };
const line = (seq: number) => `${JSON.stringify({ seq, event: { type: 'diff', payload: { diff: 'x' } } })}\n`;
const completed = { terminalStatus: 'completed' };
const failed = { terminalStatus: 'failed', failureKind: 'agent-error' };

/** Of a webhook that nothing is sent to. */
const paused =
  (id: 'testWebhook' | 'redeliverWebhook'): How =>
  async (world) => {
    const asked = await successes[id](world);
    const path = `/api/v1/webhooks/${asked.params?.webhookId}`;
    await called(world.api.call('PATCH', path, { body: { state: 'paused' } }));
    return asked;
  };

/** A stream that is asked for what it never held. */
const ahead =
  (id: OperationId, cursor: string): How =>
  async (world) => ({ ...(await successes[id](world)), headers: { 'last-event-id': cursor } });

/** How every declared failure is brought about, each on things of its own. `not-found` of an unknown id needs no row. */
export const declaredFailures: Partial<Record<OperationId, Partial<Record<RequestFailureKind, How>>>> = {
  createSession: {
    conflict: keyUsed('createSession', 'POST', () => '/api/v1/sessions'),
    'not-found': async (world) => ({
      token: otherTenantsToken,
      body: { ...owner, tenantId: 'other', sessionId: await idle(world) },
    }),
    'session-store-evicted': async (world) => ({ body: { ...owner, sessionId: await evicted(world) } }),
  },
  deleteSession: { 'session-busy': busy },
  archiveSession: { 'session-busy': busy },
  send: {
    conflict: keyUsed('send', 'POST', ({ sessionId }) => `/api/v1/sessions/${sessionId}/send`),
    'session-busy': async (world) => ({
      ...(await busy(world)),
      body: { prompt: 'do it', whenBusy: 'reject' },
    }),
    'session-store-evicted': async (world) => ({
      params: { sessionId: await evicted(world) },
      body: { prompt: 'do it' },
    }),
  },
  controlSession: {
    conflict: async (world) => ({ params: { sessionId: await idle(world) }, body: { action: 'cancel' } }),
  },
  evictStorage: { 'session-busy': busy },
  refreshStorage: {
    conflict: async (world) => ({
      params: { sessionId: await idle(world) },
      body: { pvcName: 'another-volume' },
    }),
    fenced: replaced('runToken', () => ({})),
    'session-store-evicted': async (world) => ({ params: { sessionId: await evicted(world) } }),
  },
  createRun: {
    conflict: keyUsed('createRun', 'POST', () => '/api/v1/runs'),
    'not-found': async (world) => ({
      token: otherTenantsToken,
      body: { ...owner, tenantId: 'other', sessionRef: { sessionId: await idle(world) } },
    }),
    'session-store-evicted': async (world) => ({
      body: { ...owner, sessionRef: { sessionId: await evicted(world) } },
    }),
  },
  createRunnerJob: {
    conflict: async (world) => ({ params: await external(world) }),
    'session-busy': async (world) => {
      const { sessionId } = await startTurn(world.api);
      const body = { prompt: 'later', whenBusy: 'queue', createRunnerJob: false };
      const { data } = (await called(world.api.call('POST', `/api/v1/sessions/${sessionId}/send`, { body })))
        .body;
      return { params: { runId: commandRecordSchema.parse(Object(data).command).runId } };
    },
  },
  expireRequest: {
    fenced: async (world) => {
      const asked = await successes.expireRequest(world);
      await writeAttempt(world.database.pool, attemptSettings, asked.params?.runId ?? '', 2);
      return asked;
    },
    conflict: async (world) => {
      const asked = await successes.expireRequest(world);
      await world.database.pool.query(
        `update agent_requests set expires_at = now() + interval '1 hour' where request_id = $1`,
        [asked.params?.requestId],
      );
      return asked;
    },
  },
  createCommand: {
    conflict: keyUsed('createCommand', 'POST', ({ runId }) => `/api/v1/runs/${runId}/commands`),
    'session-store-evicted': async (world) => {
      const { params, body } = await successes.createCommand(world);
      await world.database.pool.query(
        `update sessions set storage_kind = 'evicted' where session_id = (select session_id from runs where run_id = $1)`,
        [params?.runId],
      );
      return { params: params ?? {}, body };
    },
  },
  listCommands: { fenced: replaced('runToken') },
  getCommand: { fenced: replaced('runToken') },
  acknowledgeCommand: {
    fenced: replaced('runToken'),
    conflict: async ({ api }) => {
      const runner = await startTurn(api);
      const { command } = await send(api, runner.sessionId, 'left');
      await called(api.call('POST', `/api/v1/commands/${command.id}/cancel`, { body: {} }));
      return { params: { commandId: command.id }, token: runner.runToken };
    },
  },
  finishCommand: {
    fenced: replaced('runToken', () => completed),
    conflict: async (world) => {
      const { params, body } = await successes.finishCommand(world);
      await called(world.api.call('PATCH', `/api/v1/commands/${params?.commandId}/status`, { body }));
      return { params: params ?? {}, body: failed };
    },
  },
  cancelCommand: {
    conflict: async ({ api }) => {
      const runner = await startTurn(api);
      const { command } = await send(api, runner.sessionId, 'left');
      const { runToken: token } = runner;
      await called(api.call('POST', `/api/v1/commands/${command.id}/ack`, { token }));
      return { params: { commandId: command.id }, body: {} };
    },
  },
  claimRun: { fenced: replaced('launchToken', ({ runnerId }) => ({ runnerId })) },
  renewLease: {
    fenced: replaced('runToken', ({ runnerId }) => ({ runnerId })),
    conflict: unclaimed({ runnerId: 'their-runner' }),
  },
  ingestEvents: {
    fenced: async (world) => ({ ...(await replaced('runToken', () => line(1))(world)), headers: ndjson }),
    conflict: async (world) => ({ ...(await successes.ingestEvents(world)), body: line(7) }),
  },
  sendDeltas: { fenced: replaced('runToken', () => liveText) },
  appendEvent: { fenced: replaced('runToken', () => ({})), conflict: unclaimed({}) },
  finishAttempt: {
    fenced: replaced('runToken', () => completed),
    conflict: async ({ api }) => {
      const { runId, runToken: token } = await startTurn(api);
      await called(api.call('PATCH', `/api/v1/runs/${runId}/status`, { token, body: completed }));
      return { params: { runId }, token, body: failed };
    },
  },
  registerRunner: {
    fenced: async (world) => {
      const asked = await successes.registerRunner(world);
      await called(world.api.call('POST', '/api/v1/runners/register', asked));
      return { ...asked, body: { ...Object(asked.body), runnerId: 'another-instance' } };
    },
  },
  nextWork: { fenced: replaced('runnerToken') },
  renewRunner: { fenced: replaced('runnerToken', () => ({ leaseMs: 60_000 })) },
  createQueueTask: {
    conflict: keyUsed('createQueueTask', 'POST', () => '/api/v1/queue/tasks'),
    'not-found': async (world) => ({
      token: otherTenantsToken,
      body: {
        ...owner,
        tenantId: 'other',
        prompt: 'do it',
        sessionRef: { sessionId: await idle(world) },
      },
    }),
  },
  streamRun: { 'cursor-ahead': ahead('streamRun', '1000000') },
  streamSession: { 'cursor-ahead': ahead('streamSession', '1.1000000') },
  streamFeed: {
    'cursor-ahead': ahead('streamFeed', encodeFeedCursor(feedBefore('1000000000000'))),
  },
  createWebhook: { conflict: keyUsed('createWebhook', 'POST', () => '/api/v1/webhooks') },
  rotateWebhookSecret: {
    conflict: async (world) => {
      const { params } = await successes.rotateWebhookSecret(world);
      const headers = { 'idempotency-key': newSessionId() };
      const path = `/api/v1/webhooks/${params?.webhookId}/rotate-secret`;
      await called(world.api.call('POST', path, { body: {}, headers }));
      return { params: params ?? {}, headers, body: { formerValidMs: 0 } };
    },
  },
  testWebhook: { conflict: paused('testWebhook') },
  redeliverWebhook: { conflict: paused('redeliverWebhook') },
  dispatchQueueTask: {
    conflict: async (world) => {
      const sessionId = await idle(world);
      const body = { ...owner, prompt: 'do it', sessionRef: { sessionId } };
      const { data } = (await called(world.api.call('POST', '/api/v1/queue/tasks', { body }))).body;
      await world.database.pool.query('update sessions set deleted_at = now() where session_id = $1', [
        sessionId,
      ]);
      return { params: { taskId: String(Object(data).id) }, body: {} };
    },
  },
};
