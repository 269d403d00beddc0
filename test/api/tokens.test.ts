import { describe, expect, it } from 'vitest';
import { leaseAnswerSchema } from '../../contract/runners.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { apiTokens, attemptSettings, startApi } from '../support/api.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

describe('a token of a runner', () => {
  const heartbeat = (runner: ServingRunner, token: string) =>
    api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, { token, body: { runnerId: runner.runnerId } });

  it('is good for its own routes: another kind is 401, another run 403, an API route 401', async () => {
    const [runner, other] = [await startTurn(api), await startTurn(api)];
    const ingest = (token: string) => postEvents(api, runner, messageLines(1, 1), token);
    for (const token of [runner.launchToken, runner.runnerToken])
      expect((await ingest(token)).body).toMatchObject({ failureKind: 'unauthorized' });
    expect((await ingest(other.runToken)).body).toMatchObject({ failureKind: 'forbidden' });
    const read = await api.call('GET', `/api/v1/runs/${runner.runId}`, { token: runner.runToken });
    expect(read.body).toMatchObject({ failureKind: 'unauthorized' });
    const next = await api.call('GET', `/api/v1/runners/${runner.runnerId}/next`, { token: runner.runToken });
    expect(next.body).toMatchObject({ failureKind: 'unauthorized' });
    const foreign = await api.call('GET', `/api/v1/runners/${other.runnerId}/next`, {
      token: runner.runnerToken,
    });
    expect(foreign.body).toMatchObject({ failureKind: 'forbidden' });
  });

  it('that was signed by a key of another installation is 401', async () => {
    const stranger = await startApi(database);
    const runner = await startTurn(api);
    const answer = await stranger.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, {
      token: runner.runToken,
      body: { runnerId: runner.runnerId },
    });
    await stranger.stop();
    expect([answer.status, answer.body.failureKind]).toEqual([401, 'unauthorized']);
  });

  it('brings a fresh run token after an outage, as long as its attempt is current', async () => {
    const runner = await startTurn(api);
    // The run token of before the outage has expired; that of the runner lives as long as it.
    const fresh = await heartbeat(runner, runner.runnerToken);
    expect(fresh.status).toBe(200);
    const { runToken } = leaseAnswerSchema.parse(fresh.body.data);
    expect((await postEvents(api, runner, messageLines(1, 2), runToken)).status).toBe(200);
    await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
    const late = await heartbeat(runner, runner.runnerToken);
    expect([late.status, late.body.failureKind]).toEqual([409, 'fenced']);
  });

  it('of a runner does not renew the run of another', async () => {
    const [runner, other] = [await startTurn(api), await startTurn(api)];
    const answer = await api.call('PATCH', `/api/v1/runs/${other.runId}/lease`, {
      token: runner.runnerToken,
      body: { runnerId: runner.runnerId },
    });
    expect([answer.status, answer.body.failureKind]).toEqual([409, 'fenced']);
  });
});

it('no answer and no error shows a token', async () => {
  const runner = await startTurn(api);
  const answers = await Promise.all([
    api.call('GET', '/health', { token: null }),
    api.call('GET', '/api/v1/sessions/none', { token: 'agr_wrong_0123456789abcdef' }),
    api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, { token: `${runner.runToken}x`, body: {} }),
  ]);
  for (const { text } of answers) {
    expect(text).not.toContain('agr_wrong_0123456789abcdef');
    expect(text).not.toContain(runner.runToken);
    for (const { token } of apiTokens) expect(text).not.toContain(token);
  }
});
