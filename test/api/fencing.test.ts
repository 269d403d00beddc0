import { describe, expect, it } from 'vitest';
import { routeTable } from '../../api/routes/index.js';
import { idPrefixes } from '../../contract/ids.js';
import { newId } from '../../store/new-id.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { type ApiAnswer, attemptSettings, capabilities } from '../support/api.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

/** A runner whose attempt 1 has a request of its agent, and was replaced by attempt 2. */
async function staleRunner(): Promise<ServingRunner & { requestId: string }> {
  const runner = await startTurn(api);
  const requestId = newId(idPrefixes.agentRequest);
  const payload = {
    requestId,
    kind: 'command',
    itemId: null,
    summary: 's',
    command: null,
    cwd: null,
    reason: null,
    questions: [],
    fingerprint: 'f',
  };
  const asked = await postEvents(api, runner, [{ seq: 1, event: { type: 'approval_requested', payload } }]);
  expect(asked.status).toBe(200);
  await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
  return { ...runner, requestId };
}

type Call = (runner: ServingRunner & { requestId: string }) => Promise<ApiAnswer>;
const withRun =
  (method: string, path: (runner: Parameters<Call>[0]) => string, body?: unknown): Call =>
  (runner) =>
    api.call(method, path(runner), { token: runner.runToken, ...(body === undefined ? {} : { body }) });
const outcome = { terminalStatus: 'failed' };

/** What a runner asks of each route that it has. A new route of a runner needs its case here. */
const cases: Record<string, Call> = {
  'post /api/v1/runs/:runId/claim': ({ runId, runnerId, launchToken }) =>
    api.call('POST', `/api/v1/runs/${runId}/claim`, { token: launchToken, body: { runnerId } }),
  'patch /api/v1/runs/:runId/lease': ({ runId, runnerId, runToken }) =>
    api.call('PATCH', `/api/v1/runs/${runId}/lease`, { token: runToken, body: { runnerId } }),
  'post /api/v1/runs/:runId/ingest': (runner) => postEvents(api, runner, messageLines(2, 3)),
  'post /api/v1/runs/:runId/events': withRun('POST', ({ runId }) => `/api/v1/runs/${runId}/events`, {
    payload: { phase: 'late' },
  }),
  'post /api/v1/runs/:runId/deltas': withRun('POST', ({ runId }) => `/api/v1/runs/${runId}/deltas`, {
    after: 1,
    deltas: [{ itemId: 'item-1', offset: 0, text: 'late ' }],
  }),
  'patch /api/v1/runs/:runId/status': withRun(
    'PATCH',
    ({ runId }) => `/api/v1/runs/${runId}/status`,
    outcome,
  ),
  'get /api/v1/runs/:runId/commands': withRun(
    'GET',
    ({ runId }) => `/api/v1/runs/${runId}/commands?waitMs=5000`,
  ),
  'get /api/v1/runs/:runId/commands/:commandId': withRun(
    'GET',
    ({ runId, promptId }) => `/api/v1/runs/${runId}/commands/${promptId}`,
  ),
  'post /api/v1/commands/:commandId/ack': withRun(
    'POST',
    ({ promptId }) => `/api/v1/commands/${promptId}/ack`,
  ),
  'patch /api/v1/commands/:commandId/status': withRun(
    'PATCH',
    ({ promptId }) => `/api/v1/commands/${promptId}/status`,
    outcome,
  ),
  'post /api/v1/sessions/:sessionId/storage/refresh': withRun(
    'POST',
    ({ sessionId }) => `/api/v1/sessions/${sessionId}/storage/refresh`,
    {},
  ),
  'post /api/v1/runs/:runId/requests/:requestId/expire': withRun(
    'POST',
    ({ runId, requestId }) => `/api/v1/runs/${runId}/requests/${requestId}/expire`,
  ),
  'post /api/v1/runners/register': ({ launchToken, jobId, runnerId }) =>
    api.call('POST', '/api/v1/runners/register', {
      token: launchToken,
      body: { runnerId, jobId, backend: 'codex', version: '1', capabilities },
    }),
  'get /api/v1/runners/:runnerId/next': ({ runnerId, runnerToken }) =>
    api.call('GET', `/api/v1/runners/${runnerId}/next?waitMs=5000`, { token: runnerToken }),
  'patch /api/v1/runners/:runnerId/lease': ({ runnerId, runnerToken }) =>
    api.call('PATCH', `/api/v1/runners/${runnerId}/lease`, { token: runnerToken, body: {} }),
};

/** The same by the runner token where that is taken too. */
const alsoByRunnerToken: Record<string, Call> = {
  'patch /api/v1/runs/:runId/lease': ({ runId, runnerId, runnerToken }) =>
    api.call('PATCH', `/api/v1/runs/${runId}/lease`, { token: runnerToken, body: { runnerId } }),
};

/** Everything that a runner can write of a run, as text. */
async function stored(runId: string): Promise<string> {
  const queries = [
    'select * from attempts where run_id = $1 order by epoch',
    'select * from commands where run_id = $1 order by seq',
    'select * from events where run_id = $1 order by seq',
    'select * from agent_requests where run_id = $1',
    'select status, is_open, thread_id, current_epoch, paused_since is null as running from runs where run_id = $1',
    'select l.* from leases l where l.run_id = $1',
    'select last_seq, epoch, last_producer_seq from run_log where run_id = $1',
    'select n.* from runners n join attempts a using (job_name) where a.run_id = $1 order by job_name',
  ];
  const found = await Promise.all(queries.map((query) => database.pool.query(query, [runId])));
  return found.map(({ rows }) => JSON.stringify(rows)).join('\n');
}

describe('a runner whose attempt was replaced', () => {
  it('has a case for each route that takes a token of a runner', () => {
    const routes = routeTable(api.deps)
      .map(({ contract }) => contract)
      .filter(
        ({ auth, path }) =>
          auth !== 'none' &&
          (auth.run === true || auth.runner === true || auth.launch === true) &&
          // It reads what the token says of itself, whatever has become of the attempt.
          path !== '/api/v1/whoami',
      );
    expect(routes.map(({ method, path }) => `${method} ${path}`).sort()).toEqual(Object.keys(cases).sort());
    const both = routes.filter(({ auth }) => auth !== 'none' && auth.run === true && auth.runner === true);
    expect(both.map(({ method, path }) => `${method} ${path}`)).toEqual(Object.keys(alsoByRunnerToken));
  });

  it.each([...Object.entries(cases), ...Object.entries(alsoByRunnerToken)])(
    '%s: 409 fenced, and nothing has changed',
    async (_route, call) => {
      const runner = await staleRunner();
      const before = await stored(runner.runId);
      const answer = await call(runner);
      expect([answer.status, answer.body.failureKind]).toEqual([409, 'fenced']);
      expect(await stored(runner.runId)).toBe(before);
    },
  );

  it('cannot write in a race with its replacement: what it wrote was before, or nowhere', async () => {
    for (let round = 0; round < 10; round += 1) {
      const runner = await startTurn(api);
      const posts = [0, 1, 2, 3].map((batch) =>
        postEvents(api, runner, messageLines(batch * 5 + 1, batch * 5 + 5)),
      );
      const [, ...answers] = await Promise.all([
        writeAttempt(database.pool, attemptSettings, runner.runId, 2),
        ...posts,
      ]);
      expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true);
      const log = await database.pool.query<{ last_seq: number; stored: number; last_producer_seq: number }>(
        `select g.last_seq, g.last_producer_seq, (select count(*) from events e where e.run_id = g.run_id) as stored
           from run_log g where run_id = $1`,
        [runner.runId],
      );
      expect(log.rows[0]?.stored).toBe(log.rows[0]?.last_seq);
      // Each line is in the log or in quarantine or was told to be missing, never in both.
      const twice = await database.pool.query(
        `select 1 from events e join quarantined_events q using (run_id, epoch, producer_seq) where run_id = $1`,
        [runner.runId],
      );
      expect(twice.rows).toEqual([]);
    }
  });
});

describe('the end of an attempt', () => {
  const finish = (runner: ServingRunner, body: unknown) =>
    api.call('PATCH', `/api/v1/runs/${runner.runId}/status`, { token: runner.runToken, body });
  const end = (runner: ServingRunner, body: unknown) =>
    api.call('PATCH', `/api/v1/commands/${runner.promptId}/status`, { token: runner.runToken, body });

  it.each([
    ['attempt', finish],
    ['command', end],
  ])('of an %s: the same again 200, a different one 409, an unknown word 400', async (_name, say) => {
    const runner = await startTurn(api);
    expect((await say(runner, { terminalStatus: 'done' })).status).toBe(400);
    expect((await say(runner, { terminalStatus: 'failed' })).status).toBe(200);
    expect((await say(runner, { terminalStatus: 'failed' })).status).toBe(200);
    const other = await say(runner, { terminalStatus: 'completed' });
    expect([other.status, other.body.failureKind]).toEqual([409, 'conflict']);
  });
});
