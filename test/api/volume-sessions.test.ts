import { afterAll, describe, expect, it } from 'vitest';
import { ensuredSessionSchema } from '../../contract/sessions.js';
import { storageSummarySchema } from '../../contract/storage.js';
import { noteStorageMade, noteStoragePhase } from '../../store/session-storage.js';
import { finishTurn } from '../../store/turn-steps.js';
import { volumeClaimName } from '../../store/volume-names.js';
import { attemptSettings, fakeGateway, startApi } from '../support/api.js';
import { newSessionId, nextAttempt, owner, type ServingRunner, send, startTurn } from '../support/turns.js';
import { usePostgres } from '../support/use-postgres.js';

const place = { backend: 'pvc', namespace: 'agents' } as const;
/** What the workflow of a storage was asked for. */
const asked: string[] = [];
const database = await (await usePostgres()).newDatabase();
const { pool } = database;
/** Its storage workflow makes claims that have no disk yet, and finds the disk when it looks again. */
const api = await startApi(database, {
  storage: place,
  gateway: {
    ...fakeGateway(pool, { ...attemptSettings, storage: place }),
    ensureStorage: async ({ sessionId }) => {
      asked.push(`ensure ${sessionId}`);
      await noteStorageMade(pool, sessionId, 'Provisioning');
    },
    refreshStorage: async ({ sessionId }) => {
      asked.push(`refresh ${sessionId}`);
      await noteStoragePhase(pool, sessionId, 'Bound');
    },
  },
});
afterAll(() => api.stop());

const create = (sessionId: string) =>
  api.data(ensuredSessionSchema, 'POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
const storage = (sessionId: string) =>
  api.data(storageSummarySchema, 'GET', `/api/v1/sessions/${sessionId}/storage`);
const refresh = (sessionId: string, body: unknown, token?: string) =>
  api.call('POST', `/api/v1/sessions/${sessionId}/storage/refresh`, {
    body,
    ...(token === undefined ? {} : { token }),
  });
const tell = ({ sessionId, runToken }: ServingRunner, over: Record<string, unknown> = {}) =>
  refresh(
    sessionId,
    { storageSizeBytes: 4_096, storageFilesCount: 3, storageSha256: 'a'.repeat(64), ...over },
    runToken,
  );
const finish = ({ runId }: ServingRunner) =>
  finishTurn(pool, runId, { terminalStatus: 'completed', failureKind: null, failureMessage: null });

describe('a session whose files are on a volume', () => {
  it.each<[string, (sessionId: string) => Promise<unknown>]>([
    ['created', create],
    ['made by a message', (sessionId) => send(api, sessionId, 'hello')],
    [
      'made by a run',
      (sessionId) =>
        api.call('POST', '/api/v1/runs', {
          body: { ...owner, backendProfile: 'codex', sessionRef: { sessionId } },
        }),
    ],
  ])('has the claim of its name in the namespace of runners: %s', async (_name, make) => {
    const sessionId = newSessionId();
    await make(sessionId);
    expect(await storage(sessionId)).toMatchObject({
      storageKind: 'pvc',
      storageBackend: 'pvc',
      pvcName: volumeClaimName(sessionId),
      namespace: 'agents',
    });
  });

  it('exists when its claim is there, with or without a disk, and is made once', async () => {
    const sessionId = newSessionId();
    expect(await create(sessionId)).toMatchObject({
      action: 'session-created',
      session: { storagePvcPhase: 'Provisioning' },
      pvc: { pvcName: volumeClaimName(sessionId), pvcPhase: 'Provisioning', storageBackend: 'pvc' },
    });
    expect(await create(sessionId)).toMatchObject({
      action: 'session-exists',
      pvcName: volumeClaimName(sessionId),
      pvcPhase: 'Provisioning',
    });
    expect(asked.filter((step) => step.endsWith(sessionId))).toEqual([`ensure ${sessionId}`]);
  });
});

describe('the phase of a volume', () => {
  it.each([
    ['volume', 'Multi-Attach error for volume "pvc-1": already used by another node', 'MultiAttach'],
    ['volume', 'timed out', 'Attaching'],
    ['place', '0/3 nodes are available', 'Bound'],
    [null, null, 'Bound'],
  ])('while the pod of the turn waits for %s (%s) is %s', async (wait, message, phase) => {
    const runner = await startTurn(api);
    await tell(runner);
    await pool.query('update runner_jobs set pod_wait = $2, pod_message = $3 where run_id = $1', [
      runner.runId,
      wait,
      message,
    ]);
    expect((await storage(runner.sessionId)).pvcPhase).toBe(phase);
    await finish(runner);
    expect((await storage(runner.sessionId)).pvcPhase).toBe('Bound');
  });
});

describe('a refresh', () => {
  it('by the runner records what it measured, also after its turn, and nobody is asked', async () => {
    const runner = await startTurn(api);
    expect((await tell(runner)).status).toBe(200);
    expect(await storage(runner.sessionId)).toMatchObject({
      pvcPhase: 'Bound',
      storageSizeBytes: 4_096,
      storageFilesCount: 3,
      storageSha256: 'a'.repeat(64),
      storageUpdatedAt: expect.any(String),
    });
    await finish(runner);
    expect((await tell(runner, { storageSizeBytes: 5_000, storageSha256: null })).status).toBe(200);
    expect(await storage(runner.sessionId)).toMatchObject({ storageSizeBytes: 5_000, storageSha256: null });
    expect(asked).not.toContain(`refresh ${runner.sessionId}`);
  });

  it('by an operator looks at the claim and keeps what the runner measured, whatever the body says', async () => {
    const runner = await startTurn(api);
    await tell(runner);
    const answer = await refresh(runner.sessionId, {
      pvcName: volumeClaimName(runner.sessionId),
      namespace: 'agents',
      storageSizeBytes: 1,
      storageSha256: 'f00',
    });
    expect(answer.status).toBe(200);
    expect(asked).toContain(`refresh ${runner.sessionId}`);
    expect(await storage(runner.sessionId)).toMatchObject({ pvcPhase: 'Bound', storageSizeBytes: 4_096 });
    expect((await refresh(runner.sessionId, { namespace: 'other' })).status).toBe(409);
  });

  it.each([
    ['a size below nothing', { storageSizeBytes: -1 }],
    ['no number of files', { storageFilesCount: null }],
    ['part of a file', { storageFilesCount: 0.5 }],
    ['more files than are counted', { storageFilesCount: 3_000_000_000 }],
    ['a hash that is none', { storageSha256: 'a' }],
  ])('with %s is refused', async (_name, over) => {
    const runner = await startTurn(api);
    const answer = await tell(runner, over);
    expect([answer.status, answer.body.failureKind]).toEqual([400, 'schema-invalid']);
    expect((await storage(runner.sessionId)).storageSizeBytes).toBeNull();
  });

  it.each<[string, (runner: ServingRunner) => Promise<unknown>]>([
    ['was replaced by another attempt', (runner) => nextAttempt(api, pool, runner)],
    [
      'is gone',
      ({ jobName }) => pool.query(`update runners set state = 'gone' where job_name = $1`, [jobName]),
    ],
    [
      'has a successor that is being launched',
      ({ sessionId, jobName }) =>
        pool.query(
          `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, idle_timeout_ms, expires_at)
           select $2 || '-next', tenant_id, session_id, backend_profile, launcher, fingerprint, 'launching', 0, expires_at
             from runners where job_name = $2 and session_id = $1`,
          [sessionId, jobName],
        ),
    ],
  ])('by a runner that %s is fenced, and changes nothing', async (_name, change) => {
    const runner = await startTurn(api);
    await tell(runner);
    await change(runner);
    const answer = await tell(runner, { storageSizeBytes: 1 });
    expect([answer.status, answer.body.failureKind]).toEqual([409, 'fenced']);
    expect((await storage(runner.sessionId)).storageSizeBytes).toBe(4_096);
  });

  it('of another session is forbidden', async () => {
    const runner = await startTurn(api);
    const { sessionId } = await startTurn(api);
    const answer = await refresh(sessionId, { storageSizeBytes: 1, storageFilesCount: 1 }, runner.runToken);
    expect([answer.status, answer.body.failureKind]).toEqual([403, 'forbidden']);
  });
});
