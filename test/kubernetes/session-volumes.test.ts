import { Client } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { describe, expect, it } from 'vitest';
import { createRunnerActivities } from '../../activities/runners.js';
import { createStorageActivities } from '../../activities/storage.js';
import type { Launcher } from '../../infra/launchers/launcher.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import type { MadePhase, SessionStorage } from '../../infra/storage/session-storage.js';
import { VolumeStorage } from '../../infra/storage/volume-storage.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { Notifier } from '../../store/notifier.js';
import { beginDeletion, beginEviction } from '../../store/session-storage.js';
import { ensureSession } from '../../store/sessions.js';
import { volumeClaimName } from '../../store/volume-names.js';
import { useCluster } from '../support/cluster.js';
import { storeTurn } from '../support/turn-rows.js';
import { newSessionId } from '../support/turns.js';
import { usePostgres } from '../support/use-postgres.js';

const { pool } = await (await usePostgres()).newDatabase();
const test = await useCluster();
const cluster = await test.makeNamespace('h6-sessions');
const { core, namespace } = cluster;
const claims = { className: undefined, size: '16Mi', accessMode: 'ReadWriteOnce' as const };
const volumes = new VolumeStorage({ cluster, claims, claimName: volumeClaimName });
const notifier = new Notifier(pool, createLogger({ name: 'test', level: 'silent' }));

/** A machine that stands still before it makes the claim. */
class FrozenVolumes extends VolumeStorage {
  meanwhile: () => Promise<unknown> = async () => undefined;

  override async ensure(sessionId: string, generation: string): Promise<MadePhase> {
    await this.meanwhile();
    return super.ensure(sessionId, generation);
  }
}

const storageOver = (storage: SessionStorage) =>
  createStorageActivities({ pool, storage, client: new Client() });
const ensure = (sessionId: string, storage: SessionStorage = volumes): Promise<unknown> =>
  new MockActivityEnvironment()
    .run(() => storageOver(storage).ensureStorage({ sessionId }))
    .catch((error: unknown) => error);
const remove = (session: { sessionId: string; generation: string }) =>
  new MockActivityEnvironment().run(() => storageOver(volumes).removeStorage(session));

const claimUid = (sessionId: string): Promise<string | undefined> =>
  core.readNamespacedPersistentVolumeClaim({ namespace, name: volumeClaimName(sessionId) }).then(
    ({ metadata }) => metadata?.uid,
    () => undefined,
  );
async function phaseOf(sessionId: string): Promise<string | null | undefined> {
  const { rows } = await pool.query<{ phase: string | null }>(
    'select storage_pvc_phase as phase from sessions where session_id = $1',
    [sessionId],
  );
  return rows[0]?.phase;
}
async function newSession(sessionId = newSessionId()): Promise<string> {
  const body = {
    tenantId: 'acme',
    projectId: 'web',
    backendProfile: 'codex' as const,
    sessionId,
    codexRolloutSubdir: 'sessions',
  };
  await ensureSession(pool, body, null, { storage: { backend: 'pvc', namespace } });
  return sessionId;
}
const made = ['Provisioning', 'Bound'];

describe('the claim of a session', () => {
  it('is made with it, and its state recorded', async () => {
    const sessionId = await newSession();
    expect(await phaseOf(sessionId)).toBe('Pending');
    expect(await ensure(sessionId)).toBeUndefined();
    expect(made).toContain(await phaseOf(sessionId));
    expect(await claimUid(sessionId)).toBeDefined();
  });

  it.each([
    ['evicted', `update sessions set storage_kind = 'evicted' where session_id = $1`],
    ['deleted', 'delete from sessions where session_id = $1'],
  ])('that was made after the session was %s is taken away again', async (_name, removal) => {
    const sessionId = await newSession();
    const frozen = new FrozenVolumes({ cluster, claims, claimName: volumeClaimName });
    frozen.meanwhile = () => pool.query(removal, [sessionId]);
    expect(await ensure(sessionId, frozen)).toMatchObject({ type: 'session-store-evicted' });
    expect(await claimUid(sessionId)).toBeUndefined();
  });

  it('of the next session of the id stays when a former creation goes on late', async () => {
    const sessionId = await newSession();
    const frozen = new FrozenVolumes({ cluster, claims, claimName: volumeClaimName });
    frozen.meanwhile = async () => {
      await pool.query('delete from sessions where session_id = $1', [sessionId]);
      await newSession(sessionId);
      await ensure(sessionId);
    };
    expect(await ensure(sessionId, frozen)).toBeInstanceOf(Error);
    expect(await claimUid(sessionId)).toBeDefined();
    expect(made).toContain(await phaseOf(sessionId));
  });

  it('goes with an eviction and with a deletion, which may be repeated; never that of the next session of the id', async () => {
    for (const begin of [
      (sessionId: string) => beginEviction(pool, sessionId, { onlyIfExpired: false }),
      (sessionId: string) => beginDeletion(pool, sessionId),
    ]) {
      const sessionId = await newSession();
      await ensure(sessionId);
      const { generation } = await begin(sessionId);
      for (let round = 0; round < 2; round += 1) {
        await remove({ sessionId, generation });
        expect(await claimUid(sessionId)).toBeUndefined();
        expect(await phaseOf(sessionId)).toBeNull();
      }
      await pool.query('delete from sessions where session_id = $1', [sessionId]);
      await newSession(sessionId);
      await ensure(sessionId);
      await remove({ sessionId, generation });
      expect(await claimUid(sessionId)).toBeDefined();
    }
  });

  it('that the cluster refuses, or that this worker keeps elsewhere, can be asked for again: the session stays', async () => {
    const sessionId = await newSession();
    const full = await test.makeNamespace('h6-full');
    await full.core.createNamespacedResourceQuota({
      namespace: full.namespace,
      body: { metadata: { name: 'none' }, spec: { hard: { persistentvolumeclaims: '0' } } },
    });
    const refused = new VolumeStorage({ cluster: full, claims, claimName: volumeClaimName });
    expect(await ensure(sessionId, refused)).toMatchObject({
      type: 'unavailable',
      message: expect.stringContaining('exceeded quota'),
    });
    expect(await ensure(sessionId, new DirectoryStorage('/nowhere'))).toMatchObject({
      type: 'unavailable',
      message: expect.stringContaining('AGENTRUN_SESSION_STORAGE'),
    });
    expect(await phaseOf(sessionId)).toBe('Pending');
    expect(await ensure(sessionId)).toBeUndefined();
  });
});

describe('a launch', () => {
  /** The claim of each launch as the launcher finds it. */
  async function launched(
    runId: string,
    storage: SessionStorage = volumes,
    onLaunched: () => Promise<void> = async () => undefined,
  ): Promise<unknown[]> {
    const found: unknown[] = [];
    const launcher: Launcher = {
      kind: 'kubernetes',
      launch: async ({ sessionId, volumeName }) => {
        found.push({ volumeName, uid: await claimUid(sessionId) });
      },
      stop: () => Promise.resolve(),
      retire: () => Promise.resolve(true),
      diagnostics: () => Promise.resolve(undefined),
      fate: () => Promise.resolve({ state: 'unknown' }),
      watch: () => () => undefined,
    };
    const activities = createRunnerActivities({
      pool,
      notifier,
      launcher,
      storage,
      client: new Client(),
      onLaunched,
      mintLaunchToken: () => Promise.resolve('token'),
    });
    await new MockActivityEnvironment().run(() => activities.launchRunner({ runId, epoch: 1 }));
    return found;
  }
  async function turn(): Promise<{ runId: string; sessionId: string }> {
    const stored = await storeTurn(pool, { launcher: 'kubernetes' });
    await pool.query(
      `update sessions set storage_kind = 'pvc', storage_backend = 'pvc', storage_pvc_name = $2, storage_pvc_phase = 'Pending' where session_id = $1`,
      [stored.sessionId, volumeClaimName(stored.sessionId)],
    );
    return stored;
  }
  const workedBefore = (sessionId: string) =>
    pool.query(
      `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, runner_id, idle_timeout_ms, expires_at)
       values ('former-' || $1::text, 'acme', $1, 'codex', 'kubernetes', 'f', 'gone', 'former-' || $1::text, 0, now())`,
      [sessionId],
    );

  it('finds the claim there, by its name', async () => {
    const { runId, sessionId } = await turn();
    const [found] = await launched(runId);
    expect(found).toEqual({ volumeName: volumeClaimName(sessionId), uid: await claimUid(sessionId) });
    expect(await claimUid(sessionId)).toBeDefined();
    expect(made).toContain(await phaseOf(sessionId));
  });

  it('asks for retention once it stands, and stands when nobody hears that', async () => {
    const { runId } = await turn();
    let asked = 0;
    const ask = () => {
      asked += 1;
      return Promise.reject(new Error('Temporal is away'));
    };
    expect(await launched(runId, volumes, ask)).toHaveLength(1);
    expect(asked).toBe(1);
    const { rows } = await pool.query('select phase from runner_jobs where run_id = $1', [runId]);
    expect(rows).toEqual([{ phase: 'starting' }]);
  });

  it('never begins with an empty volume where one was before: the attempt fails, and nothing is made or removed', async () => {
    const { runId, sessionId } = await turn();
    await ensure(sessionId);
    await workedBefore(sessionId);
    await pool.query('update sessions set storage_size_bytes = 42 where session_id = $1', [sessionId]);
    expect(await launched(runId)).toHaveLength(1);
    await core.deleteNamespacedPersistentVolumeClaim({ namespace, name: volumeClaimName(sessionId) });
    await expect.poll(() => claimUid(sessionId), { timeout: 20_000 }).toBeUndefined();
    await expect(launched(runId)).rejects.toMatchObject({ type: 'storage-unavailable', nonRetryable: true });
    expect([await claimUid(sessionId), await phaseOf(sessionId)]).toEqual([undefined, 'Lost']);
  });

  it('fails with the reason where the files are elsewhere', async () => {
    const { runId } = await turn();
    await expect(launched(runId, new DirectoryStorage('/nowhere'))).rejects.toMatchObject({
      type: 'storage-unavailable',
      message: expect.stringContaining('on a volume of a cluster'),
    });
  });
});
