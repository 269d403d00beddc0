import { describe, expect, it } from 'vitest';
import { backendCapabilities } from '../../contract/backends.js';
import { commandRecordSchema } from '../../contract/commands.js';
import { runRecordSchema } from '../../contract/runs.js';
import { newSessionId, owner, send } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi();

/** A run that waits for a runner, and its prompt. */
async function waitingRun(): Promise<{ run: string; prompt: string }> {
  const run = await api.data(runRecordSchema, 'POST', '/api/v1/runs', { body: owner });
  const prompt = await api.data(commandRecordSchema, 'POST', `/api/v1/runs/${run.id}/commands`, {
    body: { type: 'turn', payload: { prompt: 'go' } },
  });
  return { run: `/api/v1/runs/${run.id}`, prompt: prompt.id };
}

async function claimedRun(): Promise<{ run: string; prompt: string }> {
  const waiting = await waitingRun();
  expect((await api.call('POST', `${waiting.run}/claim`, { body: { runnerId: 'old-1' } })).status).toBe(200);
  return waiting;
}

describe('what an old runner says', () => {
  it.each<[string, unknown, number]>([
    ['the id alone: 60 s', { runnerId: 'old-1' }, 200],
    ['with a lease', { runnerId: 'old-1', leaseMs: 1_000 }, 200],
    ['with more than is read', { runnerId: 'old-1', attemptId: 'a-1', host: 'here' }, 200],
    ['a blank id', { runnerId: ' ' }, 400],
    ['no id', {}, 400],
    ['a lease below a second', { runnerId: 'old-1', leaseMs: 0 }, 400],
    ['a lease above ten minutes', { runnerId: 'old-1', leaseMs: 600_001 }, 400],
    ['a lease that is null', { runnerId: 'old-1', leaseMs: null }, 200],
    ['a lease as text', { runnerId: 'old-1', leaseMs: '9' }, 400],
  ])('claim and lease, %s', async (_name, body, status) => {
    const { run } = await waitingRun();
    expect((await api.call('POST', `${run}/claim`, { body })).status).toBe(status);
    if (status !== 200) await api.call('POST', `${run}/claim`, { body: { runnerId: 'old-1' } });
    expect((await api.call('PATCH', `${run}/lease`, { body })).status).toBe(status);
  });

  it('is refused of another than the claimer', async () => {
    const { run } = await claimedRun();
    expect((await api.call('PATCH', `${run}/lease`, { body: { runnerId: 'old-2' } })).status).toBe(409);
    expect((await api.call('POST', `${run}/claim`, { body: { runnerId: 'old-2' } })).status).toBe(409);
  });

  it.each<[string, unknown, number]>([
    ['nothing: backend_status', {}, 200],
    ['a type and more', { type: 'error', payload: { message: 'x' }, attemptId: 'a-1' }, 200],
    ['an unknown type', { type: 'something' }, 400],
    ['a payload that is no object', { payload: [] }, 400],
  ])('events, %s', async (_name, body, status) => {
    const { run } = await claimedRun();
    expect((await api.call('POST', `${run}/events`, { body })).status).toBe(status);
  });

  it.each<[string, unknown, number]>([
    ['a status alone', { terminalStatus: 'completed' }, 200],
    [
      'all fields, some null, and more',
      {
        terminalStatus: 'failed',
        failureKind: null,
        failureMessage: null,
        threadId: null,
        turnId: '',
        attemptId: 'a-1',
      },
      200,
    ],
    ['no status', {}, 400],
    ['an unknown status', { terminalStatus: 'done' }, 400],
    ['an unknown failure kind', { terminalStatus: 'failed', failureKind: 'whatever' }, 200],
    ['a failure kind that is no text', { terminalStatus: 'failed', failureKind: 3 }, 400],
  ])('status of run and command, %s', async (_name, body, status) => {
    const { run, prompt } = await claimedRun();
    await api.call('POST', `/api/v1/commands/${prompt}/ack`);
    expect((await api.call('PATCH', `/api/v1/commands/${prompt}/status`, { body })).status).toBe(status);
    expect((await api.call('PATCH', `${run}/status`, { body })).status).toBe(status);
    if (status === 200) {
      expect((await api.call('PATCH', `${run}/status`, { body })).status).toBe(200);
      const other = await api.call('PATCH', `${run}/status`, { body: { terminalStatus: 'blocked' } });
      expect(other.status).toBe(409);
    }
  });

  it('registers without a job and is told an id', async () => {
    const answer = await api.call('POST', '/api/v1/runners/register', { body: { anything: ['goes'] } });
    expect(answer.body.data).toEqual({
      runnerId: expect.stringMatching(/^rnr_/),
      jobId: null,
      runnerToken: null,
      runnerTokenExpiresAt: null,
    });
    expect((await api.call('POST', '/api/v1/runners/register')).status).toBe(200);
  });
});

describe('booleans', () => {
  it.each(['dryRun', 'createRunnerJob'])('%s is strict', async (name) => {
    const body = { prompt: 'x', run: owner, [name]: 'true' };
    const answer = await api.call('POST', `/api/v1/sessions/${newSessionId()}/send`, { body });
    expect([answer.status, answer.body.failureKind]).toEqual([400, 'schema-invalid']);
  });
});

describe('a dry run', () => {
  it.each([{ projectId: 'other' }, { backendProfile: 'command' }])(
    'refuses %j as the send does',
    async (over) => {
      const sessionId = newSessionId();
      await send(api, sessionId, 'first');
      const call = (dryRun: boolean) =>
        api.call('POST', `/api/v1/sessions/${sessionId}/send`, {
          body: { prompt: 'x', run: { ...owner, ...over }, dryRun },
        });
      const plan = await call(true);
      const sent = await call(false);
      expect([plan.status, plan.body.message]).toEqual([409, sent.body.message]);
      expect(sent.status).toBe(409);
    },
  );
});

it('GET backends tells what each driver can do', async () => {
  const { body } = await api.call('GET', '/api/v1/backends');
  expect(body.data).toEqual({
    items: [
      { backendProfile: 'codex', capabilities: backendCapabilities.codex },
      { backendProfile: 'command', capabilities: backendCapabilities.command },
    ],
    valuesPrinted: false,
  });
});
