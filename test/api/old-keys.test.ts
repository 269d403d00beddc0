import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { runRecordSchema } from '../../contract/runs.js';
import { ensuredSessionSchema } from '../../contract/sessions.js';
import { adoptLauncher } from '../../store/adopt-launcher.js';
import { attemptSettings } from '../support/api.js';
import { newSessionId, owner, send } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

/** Hashes are of bodies with sorted fields and with the defaults of 0.1.0, written out here: a default that comes later must not change them. */
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const post = (path: string, body: object, key: string) =>
  api.call('POST', path, { body, headers: { 'idempotency-key': key } });
const seen = ({ status, headers }: { status: number; headers: Headers }) => [
  status,
  headers.get('idempotency-replayed'),
];
const storedAs010 = async (key: string, hashed: string) => {
  const found = await database.pool.query(
    `with m as (update session_messages set body_hash = $2 where idempotency_key = $1 returning 1),
       k as (update idempotency_keys set body_hash = $2 where idempotency_key = $1 returning 1)
     select from m union all select from k`,
    [key, sha256(hashed)],
  );
  expect(found.rowCount).toBe(1);
};

describe('keys that 0.1.0 stored', () => {
  it.each([
    [
      'a prompt',
      (id: string) => ({ prompt: `for ${id}` }),
      (id: string) =>
        `{"body":{"createRunnerJob":true,"payload":{"prompt":"for ${id}"},"whenBusy":"steer"},"runId":null,"sessionId":"${id}"}`,
    ],
    [
      'settings of the run',
      (id: string) => ({
        prompt: 'x',
        whenBusy: 'queue',
        createRunnerJob: false,
        run: owner,
        dryRun: false,
        text: id,
      }),
      (id: string) =>
        `{"body":{"createRunnerJob":false,"payload":{"prompt":"x"},"run":{"projectId":"web","sessionRef":{"sessionId":"${id}"},"tenantId":"acme"},"whenBusy":"queue"},"runId":null,"sessionId":"${id}"}`,
    ],
  ])('replay a send with %s', async (_name, bodyOf, hashed) => {
    const sessionId = newSessionId();
    await post('/api/v1/sessions', { ...owner, sessionId }, `made-${sessionId}`);
    const path = `/api/v1/sessions/${sessionId}/send`;
    const first = await post(path, bodyOf(sessionId), sessionId);
    await storedAs010(sessionId, hashed(sessionId));
    const again = await post(path, bodyOf(sessionId), sessionId);
    expect(seen(again)).toEqual([200, 'true']);
    expect(again.body.data).toMatchObject({ command: { idempotencyKey: sessionId } });
    expect(seen(first)).toEqual([200, null]);
    expect((await post(path, { prompt: 'another' }, sessionId)).status).toBe(409);
  });

  it.each([
    ['as it was when it began the run', true, false],
    ['as it was when the run had begun', false, false],
    ['as it was of a run with a launcher', false, true],
  ])('replay a command, %s', async (_name, begins, launched) => {
    const sessionId = newSessionId();
    const run = await api.data(runRecordSchema, 'POST', '/api/v1/runs', {
      body: { ...owner, sessionRef: { sessionId } },
    });
    const path = `/api/v1/runs/${run.id}/commands`;
    const body = { type: 'turn', payload: { prompt: 'go' } };
    expect(seen(await post(path, body, sessionId))).toEqual([200, null]);
    await storedAs010(
      sessionId,
      `{"body":{"createRunnerJob":${launched},"payload":{"prompt":"go"},"whenBusy":"queue"},"runId":${begins ? `"${run.id}"` : 'null'},"sessionId":"${sessionId}"}`,
    );
    expect(seen(await post(path, body, sessionId))).toEqual([200, 'true']);
    expect((await post(path, { ...body, type: 'steer' }, sessionId)).status).toBe(409);
  });

  it('replay a queue task, with what its record lacked then', async () => {
    const key = newSessionId();
    const body = { ...owner, prompt: key };
    const first = await post('/api/v1/queue/tasks', body, key);
    await storedAs010(
      key,
      `{"backendProfile":"codex","priority":0,"projectId":"web","prompt":"${key}","queue":"default","tenantId":"acme"}`,
    );
    await database.pool.query(
      `update idempotency_keys set answer = answer - 'failureMessage' where idempotency_key = $1`,
      [key],
    );
    const again = await post('/api/v1/queue/tasks', body, key);
    expect(seen(again)).toEqual([200, 'true']);
    expect(again.body.data).toEqual(first.body.data);
  });
});

describe('keys of this version', () => {
  it('replay a command after its run has begun and was given a launcher, and a steer', async () => {
    const run = await api.data(runRecordSchema, 'POST', '/api/v1/runs', { body: owner });
    const path = `/api/v1/runs/${run.id}/commands`;
    const prompt = { type: 'turn', payload: { prompt: 'go' } };
    expect(seen(await post(path, prompt, 'k-turn'))).toEqual([200, null]);
    const steer = { type: 'steer', payload: { prompt: 'left' } };
    const steered = await post(path, steer, 'k-steer');
    await adoptLauncher(database.pool, attemptSettings, run.id);
    expect(seen(await post(path, prompt, 'k-turn'))).toEqual([200, 'true']);
    expect(seen(await post(path, steer, 'k-steer'))).toEqual([steered.status, 'true']);
  });

  it('replay the first answer, with what an earlier version did not store of it', async () => {
    const sessionId = newSessionId();
    const body = { ...owner, sessionId, labels: { a: 'first' } };
    const first = await post('/api/v1/sessions', body, sessionId);
    expect(first.status).toBe(200);
    await database.pool.query(
      `update idempotency_keys set answer = answer #- '{session,archivedAt}' #- '{pvc,storageBackend}' where idempotency_key = $1`,
      [sessionId],
    );
    await send(api, sessionId, 'go');
    const again = await post('/api/v1/sessions', body, sessionId);
    expect(seen(again)).toEqual([200, 'true']);
    expect(ensuredSessionSchema.parse(again.body.data)).toMatchObject({
      action: 'session-created',
      session: { sessionId, archivedAt: null },
      pvc: { storageBackend: 'directory' },
    });

    const created = await post('/api/v1/runs', { ...owner, sessionRef: { sessionId } }, 'k-run');
    await database.pool.query(
      `update idempotency_keys set answer = answer - 'deadlineAt' where idempotency_key = 'k-run'`,
    );
    await database.pool.query(`update runs set labels = '{"b":"later"}' where session_id = $1`, [sessionId]);
    const replayed = await post('/api/v1/runs', { ...owner, sessionRef: { sessionId } }, 'k-run');
    expect(seen(replayed)).toEqual([200, 'true']);
    expect(replayed.body.data).toEqual(created.body.data);
  });
});
