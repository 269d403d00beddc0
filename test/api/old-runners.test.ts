import { describe, expect, it } from 'vitest';
import { commandRecordSchema } from '../../contract/commands.js';
import { eventPageSchema } from '../../contract/events.js';
import { type RunRecord, runRecordSchema } from '../../contract/runs.js';
import { finishTurn } from '../../store/turn-steps.js';
import { newSessionId, owner, postEvents, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const createRun = (sessionId = newSessionId()) =>
  api.data(runRecordSchema, 'POST', '/api/v1/runs', { body: { ...owner, sessionRef: { sessionId } } });
const command = (runId: string, type: string, prompt = 'go') =>
  api.call('POST', `/api/v1/runs/${runId}/commands`, { body: { type, payload: { prompt } } });
const commandOf = async (runId: string, type: string) =>
  commandRecordSchema.parse((await command(runId, type)).body.data);
const failureOf = async (answer: ReturnType<typeof command>) => {
  const { status, body } = await answer;
  return [status, body.failureKind];
};
const claim = (runId: string) =>
  api.call('POST', `/api/v1/runs/${runId}/claim`, { body: { runnerId: 'old-1' } });
const getRun = (runId: string) => api.data(runRecordSchema, 'GET', `/api/v1/runs/${runId}`);
const eventsOf = (runId: string) => api.data(eventPageSchema, 'GET', `/api/v1/runs/${runId}/events`);

/** A run that an old runner has claimed, and its prompt. */
async function claimedRun(): Promise<{ run: RunRecord; promptId: string }> {
  const run = await createRun();
  const { id: promptId } = await commandOf(run.id, 'turn');
  expect((await claim(run.id)).status).toBe(200);
  return { run, promptId };
}

/** The run's end as its workflow writes it. */
async function endRun(runId: string, terminalStatus: 'completed' | 'cancelled'): Promise<void> {
  await finishTurn(database.pool, runId, { terminalStatus, failureKind: null, failureMessage: null });
}

describe('a steer to a run', () => {
  it('that has not begun is refused, and the run can begin still', async () => {
    const run = await createRun();
    expect(await failureOf(command(run.id, 'steer'))).toEqual([409, 'conflict']);
    expect((await commandOf(run.id, 'turn')).runId).toBe(run.id);
    expect((await claim(run.id)).status).toBe(200);
  });

  it('that serves its turn goes to it', async () => {
    const { run } = await claimedRun();
    expect(await commandOf(run.id, 'steer')).toMatchObject({ runId: run.id, type: 'steer' });
  });

  it('that waits behind another is refused: it would steer the other', async () => {
    const { run } = await claimedRun();
    const behind = await createRun(run.sessionId);
    expect((await commandOf(behind.id, 'turn')).runId).toBe(behind.id);
    expect(await failureOf(command(behind.id, 'steer'))).toEqual([409, 'conflict']);
  });

  it('that is to be cancelled or was cancelled is refused', async () => {
    const { run } = await claimedRun();
    await api.call('POST', `/api/v1/runs/${run.id}/cancel`, { body: {} });
    expect(await failureOf(command(run.id, 'steer'))).toEqual([409, 'conflict']);
    await endRun(run.id, 'cancelled');
    expect(await failureOf(command(run.id, 'steer'))).toEqual([409, 'conflict']);
  });

  it('that ended by itself is the next turn of its session, and never steers another', async () => {
    const { run } = await claimedRun();
    await endRun(run.id, 'completed');
    const next = await commandOf(run.id, 'steer');
    expect(next.type).toBe('turn');
    expect(next.runId).not.toBe(run.id);
    const after = await commandOf(run.id, 'steer');
    expect(after.type).toBe('turn');
    expect([run.id, next.runId]).not.toContain(after.runId);
  });
});

describe('a terminal_status of a runner', () => {
  it('is kept as evidence in the log, whose last event is that of the end', async () => {
    const { run } = await claimedRun();
    const payload = { terminalStatus: 'completed', phase: 'mine' };
    const answer = await api.call('POST', `/api/v1/runs/${run.id}/events`, {
      body: { type: 'terminal_status', payload },
    });
    expect(answer.body.data).toMatchObject({
      type: 'backend_status',
      payload: { phase: 'runner-terminal', said: payload },
    });
    await endRun(run.id, 'completed');
    const { items, terminal } = await eventsOf(run.id);
    const ends = items.filter(({ type }) => type === 'terminal_status');
    expect([terminal, ends, items.at(-1)]).toEqual([true, [items.at(-1)], ends[0]]);
  });

  it('is kept so of a batch too', async () => {
    const runner = await startTurn(api);
    const event = { type: 'terminal_status', payload: { terminalStatus: 'failed' } };
    expect((await postEvents(api, runner, [{ seq: 1, event }])).status).toBe(200);
    const { items } = await eventsOf(runner.runId);
    expect(items.at(-1)).toMatchObject({
      type: 'backend_status',
      payload: { phase: 'runner-terminal', said: event.payload },
    });
  });
});

describe('the status of a command', () => {
  const failed = {
    terminalStatus: 'failed',
    failureKind: 'provider-auth',
    failureMessage: 'no key',
    threadId: 'thread-1',
    turnId: 'turn-1',
  };
  const finishCommand = (id: string, body: object) =>
    api.call('PATCH', `/api/v1/commands/${id}/status`, { body });
  const finishRun = (id: string, body: object) => api.call('PATCH', `/api/v1/runs/${id}/status`, { body });

  it('is kept, and says what the status of the run leaves out', async () => {
    const { run, promptId } = await claimedRun();
    expect((await finishCommand(promptId, failed)).status).toBe(200);
    expect(await getRun(run.id)).toMatchObject({ threadId: 'thread-1', turnId: 'turn-1' });
    const finished = await finishRun(run.id, { terminalStatus: 'failed' });
    expect(finished.body.data).toMatchObject({ outcome: { ...failed, provider: null } });
    expect((await finishRun(run.id, { terminalStatus: 'failed' })).status).toBe(200);
    expect((await finishRun(run.id, failed)).status).toBe(200);
    expect((await finishRun(run.id, { ...failed, failureMessage: 'other' })).status).toBe(409);
    const jobs = await api.call('GET', `/api/v1/runs/${run.id}/runner-jobs`);
    expect(jobs.body.data).toMatchObject({ items: [{ outcome: 'failed', failureKind: 'provider-auth' }] });
  });

  it('does not speak for a run that ended otherwise', async () => {
    const { run, promptId } = await claimedRun();
    await finishCommand(promptId, failed);
    const finished = await finishRun(run.id, { terminalStatus: 'cancelled' });
    expect(finished.body.data).toMatchObject({ outcome: { failureKind: null, failureMessage: null } });
  });

  it('is the same again with the same words, and 409 with others', async () => {
    const { promptId } = await claimedRun();
    expect((await finishCommand(promptId, failed)).status).toBe(200);
    expect((await finishCommand(promptId, failed)).status).toBe(200);
    expect((await finishCommand(promptId, { ...failed, failureMessage: 'other' })).status).toBe(409);
    expect((await finishCommand(promptId, { terminalStatus: 'completed' })).status).toBe(409);
  });

  it('may come after that of the run', async () => {
    const { run, promptId } = await claimedRun();
    expect((await finishRun(run.id, { terminalStatus: 'completed' })).status).toBe(200);
    expect((await finishCommand(promptId, { terminalStatus: 'completed' })).status).toBe(200);
    expect((await finishRun(run.id, { terminalStatus: 'completed' })).status).toBe(200);
  });

  it('and of the run may name a failure kind that is not ours: agent-error, with the word kept', async () => {
    const { run, promptId } = await claimedRun();
    const foreign = { terminalStatus: 'failed', failureKind: 'backend-crashed', failureMessage: 'exit 3' };
    expect((await finishCommand(promptId, foreign)).status).toBe(200);
    const finished = await finishRun(run.id, foreign);
    expect(finished.body.data).toMatchObject({
      outcome: { failureKind: 'agent-error', failureMessage: 'backend-crashed: exit 3' },
    });
    expect((await finishRun(run.id, foreign)).status).toBe(200);
  });
});

describe('a lease', () => {
  it('with an API token and another runner id is fenced, as a claim is', async () => {
    const { run } = await claimedRun();
    const lease = api.call('PATCH', `/api/v1/runs/${run.id}/lease`, { body: { runnerId: 'old-2' } });
    expect(await failureOf(lease)).toEqual([409, 'fenced']);
  });
});
