import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AgentRunError } from '../../contract/errors.js';
import { ensuredSessionSchema } from '../../contract/sessions.js';
import { refreshedStorageSchema, storageGcSchema, storageSummarySchema } from '../../contract/storage.js';
import { beginEviction, listExpiredSessions } from '../../store/session-storage.js';
import { finishTurn } from '../../store/turn-steps.js';
import { type ApiAnswer, apiTokens, fakeGateway, startApi } from '../support/api.js';
import { storageDataDir } from '../support/fake-storage.js';
import { newSessionId, owner, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api, database } = await useApi();

const acme = 'agr_acme_0123456789abcdef';
const reader = 'agr_reader_0123456789abcdef';
const folderOf = (sessionId: string) => join(storageDataDir(), 'sessions', sessionId);
const outcomeOf = ({ status, body }: ApiAnswer) => [status, body.failureKind];
async function created(over: Record<string, unknown> = {}): Promise<string> {
  const sessionId = newSessionId();
  await api.data(ensuredSessionSchema, 'POST', '/api/v1/sessions', {
    body: { ...owner, sessionId, ...over },
  });
  return sessionId;
}
const storagePath = (sessionId: string, more = '') => `/api/v1/sessions/${sessionId}/storage${more}`;
const storage = (sessionId: string) => api.data(storageSummarySchema, 'GET', storagePath(sessionId));
const evict = (sessionId: string, token?: string) =>
  api.call('DELETE', storagePath(sessionId), token === undefined ? {} : { token });
const refresh = (sessionId: string, body: unknown, token?: string) =>
  api.call('POST', storagePath(sessionId, '/refresh'), { body, ...(token === undefined ? {} : { token }) });
const collect = (token?: string) =>
  api.data(storageGcSchema, 'POST', '/api/v1/sessions/storage/gc', token === undefined ? {} : { token });
async function finish(runId: string): Promise<void> {
  await finishTurn(database.pool, runId, {
    terminalStatus: 'completed',
    failureKind: null,
    failureMessage: null,
  });
}

describe('creating a session', () => {
  it('makes its storage before the answer', async () => {
    const sessionId = await created();
    expect(existsSync(folderOf(sessionId))).toBe(true);
    expect(await storage(sessionId)).toMatchObject({
      storageKind: 'pvc',
      storageBackend: 'directory',
      pvcName: `agentrun-session-${sessionId}`,
      namespace: null,
      pvcPhase: 'Bound',
      storageSizeBytes: null,
    });
  });

  it('answers the session with storage that is pending while Temporal is away or its workers know none; a repeat completes it', async () => {
    const gateway = {
      ...fakeGateway(database.pool),
      ensureStorage: () => Promise.reject(new AgentRunError('unavailable', 'away')),
    };
    const away = await startApi(database, { gateway });
    const body = { ...owner, sessionId: newSessionId() };
    try {
      const answer = await away.call('POST', '/api/v1/sessions', { body });
      expect(answer.status).toBe(200);
      expect(answer.body.data).toMatchObject({
        action: 'session-created',
        session: { sessionId: body.sessionId, storagePvcPhase: 'Pending' },
        pvc: { pvcPhase: 'Pending' },
      });
    } finally {
      await away.stop();
    }
    expect((await storage(body.sessionId)).pvcPhase).toBe('Pending');
    expect((await api.call('POST', '/api/v1/sessions', { body })).body.data).toMatchObject({
      action: 'session-storage-recovered',
      session: { storagePvcPhase: 'Bound' },
      pvc: { pvcPhase: 'Bound' },
    });
    expect((await api.call('POST', '/api/v1/sessions', { body })).body.data).toMatchObject({
      action: 'session-exists',
      pvcPhase: 'Bound',
    });
  });

  it('recovers a session without storage, and completes one that a send made', async () => {
    const sessionId = await created();
    await database.pool.query(
      `update sessions set storage_kind = 'none', storage_pvc_name = null, storage_pvc_phase = null where session_id = $1`,
      [sessionId],
    );
    const recovered = await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
    expect(recovered.body.data).toMatchObject({
      action: 'session-storage-recovered',
      session: { storageKind: 'pvc', storagePvcPhase: 'Bound' },
    });
    const sent = newSessionId();
    await send(api, sent, 'hello');
    expect((await storage(sent)).pvcPhase).toBe('Pending');
    expect(
      (await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId: sent } })).body.data,
    ).toMatchObject({ action: 'session-storage-recovered', session: { storagePvcPhase: 'Bound' } });
  });
});

describe('refreshing', () => {
  it('measures and believes nothing that a client says', async () => {
    const sessionId = await created();
    mkdirSync(join(folderOf(sessionId), 'agent', 'workspace'), { recursive: true });
    writeFileSync(join(folderOf(sessionId), 'agent', 'workspace', 'file'), 'twelve bytes');
    const answer = await refresh(sessionId, {
      pvcName: `agentrun-session-${sessionId}`,
      namespace: 'any-namespace',
      pvcPhase: 'Lost',
      storageSizeBytes: 1,
      storageFilesCount: 99,
      storageSha256: 'f00',
      storageUpdatedAt: '2001-01-01T00:00:00Z',
    });
    const { summary } = refreshedStorageSchema.parse(answer.body.data);
    expect(summary).toMatchObject({
      pvcPhase: 'Bound',
      storageSizeBytes: 12,
      storageFilesCount: 1,
      storageSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      namespace: null,
    });
    expect(Date.parse(summary.storageUpdatedAt ?? '')).toBeGreaterThan(Date.now() - 60_000);
    expect(await storage(sessionId)).toEqual(summary);
  });

  it('refuses the names of another volume, naming the field', async () => {
    const sessionId = await created();
    await database.pool.query(`update sessions set storage_namespace = 'agents' where session_id = $1`, [
      sessionId,
    ]);
    for (const body of [{ pvcName: 'agentrun-session-other' }, { namespace: 'other' }]) {
      const answer = await refresh(sessionId, body);
      expect(outcomeOf(answer)).toEqual([409, 'conflict']);
      expect(answer.body.message).toContain(Object.keys(body)[0]);
    }
    expect((await refresh(sessionId, { namespace: 'agents' })).status).toBe(200);
    expect(outcomeOf(await refresh(sessionId, { pvcName: '  ' }))).toEqual([400, 'schema-invalid']);
  });

  it('takes a run token of a run of the session, while its attempt counts', async () => {
    const runner = await startTurn(api);
    expect((await refresh(runner.sessionId, {}, runner.runToken)).status).toBe(200);
    expect(outcomeOf(await refresh(await created(), {}, runner.runToken))).toEqual([403, 'forbidden']);
    await finish(runner.runId);
    expect(outcomeOf(await refresh(runner.sessionId, {}, runner.runToken))).toEqual([409, 'fenced']);
    expect(outcomeOf(await refresh(runner.sessionId, {}, reader))).toEqual([403, 'forbidden']);
  });
});

describe('evicting', () => {
  it('is refused while a turn is active or queued, and changes nothing', async () => {
    const { sessionId, runId } = await startTurn(api);
    mkdirSync(folderOf(sessionId), { recursive: true });
    expect(outcomeOf(await evict(sessionId))).toEqual([409, 'session-busy']);
    await send(api, sessionId, 'later', { whenBusy: 'queue' });
    await finish(runId);
    expect(outcomeOf(await evict(sessionId))).toEqual([409, 'session-busy']);
    expect((await storage(sessionId)).storageKind).toBe('pvc');
    expect(existsSync(folderOf(sessionId))).toBe(true);
  });

  it('removes the files, ends the idle runner, keeps the record, is safe to repeat and refuses what needs files', async () => {
    const { sessionId, runId, jobName } = await startTurn(api);
    await finish(runId);
    await database.pool.query(`update runners set state = 'idle' where job_name = $1`, [jobName]);
    mkdirSync(folderOf(sessionId), { recursive: true });
    writeFileSync(join(folderOf(sessionId), 'file'), 'x');
    for (let time = 1; time <= 2; time += 1) {
      expect((await evict(sessionId)).body.data).toMatchObject({
        action: 'session-storage-evicted',
        summary: { storageKind: 'evicted', pvcPhase: null, storageSizeBytes: 0, storageFilesCount: 0 },
      });
    }
    expect(existsSync(folderOf(sessionId))).toBe(false);
    const runners = await database.pool.query('select state from runners where session_id = $1', [sessionId]);
    expect(runners.rows).toEqual([{ state: 'gone' }]);
    for (const answer of [
      await api.call('POST', `/api/v1/sessions/${sessionId}/send`, { body: { prompt: 'x' } }),
      await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } }),
      await api.call('POST', '/api/v1/runs', { body: { ...owner, sessionRef: { sessionId } } }),
      await refresh(sessionId, {}),
    ])
      expect(outcomeOf(answer)).toEqual([409, 'session-store-evicted']);
    expect((await api.call('GET', `/api/v1/runs/${runId}`)).status).toBe(200);
  });

  it('and a message at the same moment: one of them wins, never both', async () => {
    for (let round = 0; round < 10; round += 1) {
      const sessionId = await created();
      const [evicted, sent] = await Promise.all([
        evict(sessionId),
        api.call('POST', `/api/v1/sessions/${sessionId}/send`, { body: { prompt: 'x' } }),
      ]);
      expect([outcomeOf(evicted)[1], outcomeOf(sent)[1]].filter((kind) => kind === undefined)).toHaveLength(
        1,
      );
      expect(existsSync(folderOf(sessionId))).toBe(evicted.status !== 200);
    }
  });

  it('and everything else of another tenant is not found', async () => {
    const sessionId = await created({ tenantId: 'other' });
    for (const answer of [
      await evict(sessionId, acme),
      await refresh(sessionId, {}, acme),
      await api.call('GET', storagePath(sessionId), { token: acme }),
    ])
      expect(outcomeOf(answer)).toEqual([404, 'not-found']);
    expect(existsSync(folderOf(sessionId))).toBe(true);
  });
});

describe('garbage collection', () => {
  const expire = (sessionId: string) =>
    database.pool.query(
      `update sessions set expires_at = now() - interval '1 second', expires_at_chosen = true where session_id = $1`,
      [sessionId],
    );

  it('evicts what has expired and has nothing to do, and says what it kept', async () => {
    const [idle, fresh] = [await created(), await created()];
    const busy = await startTurn(api);
    for (const sessionId of [idle, busy.sessionId]) await expire(sessionId);
    const report = await collect();
    expect(report.deleted).toEqual([idle]);
    expect(report.kept).toEqual([{ sessionId: busy.sessionId, reason: expect.stringContaining('turn') }]);
    expect(report).toMatchObject({ examined: 2, failed: [], hasMore: false });
    expect(existsSync(folderOf(idle))).toBe(false);
    expect((await storage(fresh)).storageKind).toBe('pvc');
    expect((await collect()).deleted).toEqual([]);
    await finish(busy.runId);
    expect((await collect()).deleted).toEqual([busy.sessionId]);
  });

  it('leaves a session alone for 30 days after its last turn, unless its caller chose when it expires', async () => {
    const age = (sessionId: string, lastTurn: string) =>
      database.pool.query(
        `update sessions set created_at = created_at - interval '31 days', expires_at = expires_at - interval '31 days',
           last_activity_at = now() - $2::interval where session_id = $1`,
        [sessionId, lastTurn],
      );
    const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
    const [used, unused, chosen, old] = [
      await created(),
      await created(),
      await created({ expiresAt: inDays(20) }),
      await created(),
    ];
    for (const sessionId of [used, chosen, old]) await age(sessionId, '1 day');
    await age(unused, '30 days 1 minute');
    // As a session of before is stored.
    await database.pool.query('update sessions set expires_at_chosen = null where session_id = $1', [old]);
    for (const sessionId of [used, old]) {
      const days = (Date.parse((await storage(sessionId)).expiresAt) - Date.now()) / 86_400_000;
      expect(days).toBeCloseTo(29, 1);
    }
    expect([...(await collect()).deleted].sort()).toEqual([unused, chosen].sort());
    for (const sessionId of [used, old])
      await expect(beginEviction(database.pool, sessionId, { onlyIfExpired: true })).rejects.toMatchObject({
        failureKind: 'conflict',
      });
  });

  it('looks at removals that were begun and at what has expired by turns, and at each removal once before one again', async () => {
    const begun = [await created(), await created(), await created()];
    for (const sessionId of begun) await beginEviction(database.pool, sessionId, { onlyIfExpired: false });
    const idle = [await created(), await created()];
    for (const sessionId of idle) await expire(sessionId);
    const page = async () =>
      (await listExpiredSessions(database.pool, { tenantId: 'acme', limit: 4 })).toRemove.map(
        (session) => session.sessionId,
      );
    const [first, second, third] = begun;
    expect(await page()).toEqual([first, idle[0], second, idle[1]]);
    // Tried in vain.
    await beginEviction(database.pool, first ?? '', { onlyIfExpired: true });
    expect(await page()).toEqual([second, idle[0], third, idle[1]]);
    expect([...(await collect()).deleted].sort()).toEqual([...begun, ...idle].sort());
  });

  it('finishes what was begun and given up', async () => {
    const sessionId = await created();
    await beginEviction(database.pool, sessionId, { onlyIfExpired: false });
    expect(existsSync(folderOf(sessionId))).toBe(true);
    expect((await collect()).deleted).toEqual([sessionId]);
    expect(existsSync(folderOf(sessionId))).toBe(false);
  });

  it('decides under the lock: one that was prolonged since it was listed is kept', async () => {
    const sessionId = await created();
    await expect(beginEviction(database.pool, sessionId, { onlyIfExpired: true })).rejects.toMatchObject({
      failureKind: 'conflict',
    });
  });

  it('is bounded, and a token that is bound to a tenant collects that tenant alone', async () => {
    const mine = [await created(), await created()];
    const other = await created({ tenantId: 'other' });
    for (const sessionId of [...mine, other]) await expire(sessionId);
    const page = await listExpiredSessions(database.pool, { tenantId: 'acme', limit: 1 });
    expect(page).toMatchObject({ hasMore: true, busy: [] });
    expect(page.toRemove).toHaveLength(1);
    const token = 'agr_acmeadmin_0123456789abcdef';
    const bound = await startApi(database, {
      apiTokens: [...apiTokens, { name: 'acme-admin', token, scopes: ['admin'], tenantId: 'acme' }],
    });
    try {
      const report = await bound.data(storageGcSchema, 'POST', '/api/v1/sessions/storage/gc', { token });
      expect([...report.deleted].sort()).toEqual([...mine].sort());
    } finally {
      await bound.stop();
    }
    expect(existsSync(folderOf(other))).toBe(true);
    expect((await collect()).deleted).toEqual([other]);
  });

  it('needs the scope admin', async () => {
    const answer = await api.call('POST', '/api/v1/sessions/storage/gc', { token: acme });
    expect(outcomeOf(answer)).toEqual([403, 'forbidden']);
  });
});
