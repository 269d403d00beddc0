import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { annotations, labels } from '../../domain/kubernetes/labels.js';
import { connectCluster } from '../../infra/kubernetes/cluster.js';
import { StorageRefusedError } from '../../infra/storage/session-storage.js';
import { VolumeStorage } from '../../infra/storage/volume-storage.js';
import { volumeClaimName } from '../../store/volume-names.js';
import { useCluster } from '../support/cluster.js';
import { newSessionId } from '../support/turns.js';

const test = await useCluster();
const cluster = await test.makeNamespace('h6-volumes');
const { core, namespace } = cluster;
const claims = { className: undefined, size: '16Mi', accessMode: 'ReadWriteOnce' as const };
const storage = new VolumeStorage({ cluster, claims, claimName: volumeClaimName });
const generation = '1700000000000001';

const claimOf = (sessionId: string) =>
  core.readNamespacedPersistentVolumeClaim({ namespace, name: volumeClaimName(sessionId) });
async function made(): Promise<string> {
  const sessionId = newSessionId();
  await storage.ensure(sessionId, generation);
  return sessionId;
}

/** A pod that has the session's volume and does nothing; it never starts where its image is not. */
async function user(sessionId: string): Promise<string> {
  const name = `user-${volumeClaimName(sessionId)}`.slice(0, 60);
  await core.createNamespacedPod({
    namespace,
    body: {
      metadata: { name, labels: { [labels.volume]: volumeClaimName(sessionId) } },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'idle',
            image: 'agentrun.test/not-there:1',
            imagePullPolicy: 'Never',
            volumeMounts: [{ name: 'session', mountPath: '/session' }],
          },
        ],
        volumes: [{ name: 'session', persistentVolumeClaim: { claimName: volumeClaimName(sessionId) } }],
      },
    },
  });
  return name;
}

async function phaseBecomes(sessionId: string, phase: string): Promise<void> {
  await expect.poll(() => storage.measure(sessionId), { timeout: 30_000, interval: 200 }).toEqual({ phase });
}

describe('the volume of a session', () => {
  it('is made once, as the settings say, and found again', async () => {
    const sessionId = newSessionId();
    expect(await storage.exists(sessionId)).toBe(false);
    expect(await storage.measure(sessionId)).toEqual({ phase: 'Lost' });
    const at = () => storage.ensure(sessionId, generation);
    for (const phase of await Promise.all([at(), at(), at()]))
      expect(['Provisioning', 'Bound']).toContain(phase);
    const claim = await claimOf(sessionId);
    expect(claim.metadata?.annotations).toMatchObject({
      [annotations.session]: sessionId,
      [annotations.generation]: generation,
    });
    expect(claim.spec).toMatchObject({
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '16Mi' } },
    });
    expect(await storage.exists(sessionId)).toBe(true);
  });

  it('gets its disk with its first pod, and is Bound from then on', async () => {
    const sessionId = await made();
    await user(sessionId);
    await phaseBecomes(sessionId, 'Bound');
    expect(await storage.ensure(sessionId, generation)).toBe('Bound');
  });

  it('is there without a disk for as long as nobody gives it one', async () => {
    const none = { ...claims, className: 'h6-nobody-provides-this' };
    const waiting = new VolumeStorage({ cluster, claims: none, claimName: volumeClaimName });
    const sessionId = newSessionId();
    for (let round = 0; round < 2; round += 1)
      expect(await waiting.ensure(sessionId, generation)).toBe('Provisioning');
    expect(await waiting.measure(sessionId)).toEqual({ phase: 'Provisioning' });
    expect(await waiting.exists(sessionId)).toBe(true);
  });

  it('is refused in the words of the cluster, and nothing is left', async () => {
    const limited = await test.makeNamespace('h6-quota');
    await limited.core.createNamespacedResourceQuota({
      namespace: limited.namespace,
      body: { metadata: { name: 'none' }, spec: { hard: { persistentvolumeclaims: '0' } } },
    });
    const there = new VolumeStorage({ cluster: limited, claims, claimName: volumeClaimName });
    const refused = await there.ensure('s', generation).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(StorageRefusedError);
    expect(refused).toMatchObject({ message: expect.stringMatching(/exceeded quota/) });
    expect(await there.exists('s')).toBe(false);
  });

  it('of another session, or of a former one of the same id, is neither used nor removed', async () => {
    const sessionId = await made();
    const later = '1700000000000002';
    await expect(storage.ensure(sessionId, later)).rejects.toThrow(/of a former session/);
    await storage.discard(sessionId, later);
    await storage.removeDiscarded(sessionId, later);
    expect(await storage.removeEmpty(sessionId, later)).toBe(true);
    expect(await storage.exists(sessionId)).toBe(true);
    const clash = new VolumeStorage({ cluster, claims, claimName: () => volumeClaimName(sessionId) });
    for (const step of [
      () => clash.ensure('other', generation),
      () => clash.measure('other'),
      () => clash.discard('other', generation),
    ])
      await expect(step()).rejects.toThrow(/left alone/);
    expect(await storage.exists(sessionId)).toBe(true);
  });

  it('is gone after a removal, which may be repeated; the same id may have another then', async () => {
    const sessionId = await made();
    const former = (await claimOf(sessionId)).metadata?.uid;
    for (let round = 0; round < 2; round += 1) {
      await storage.discard(sessionId, generation);
      await storage.removeDiscarded(sessionId, generation);
      expect(await storage.exists(sessionId)).toBe(false);
    }
    await storage.ensure(sessionId, '1700000000000009');
    expect((await claimOf(sessionId)).metadata?.uid).not.toBe(former);
  });

  it('that was only set aside is not given up by the removal of what was', async () => {
    const sessionId = await made();
    await storage.removeDiscarded(sessionId, generation);
    expect(await storage.exists(sessionId)).toBe(true);
  });

  it('goes when its last pod goes: until then it takes no runner, and the removal waits', async () => {
    const sessionId = await made();
    const pod = await user(sessionId);
    await phaseBecomes(sessionId, 'Bound');
    await storage.discard(sessionId, generation);
    expect(await storage.measure(sessionId)).toEqual({ phase: 'Terminating' });
    expect(await storage.exists(sessionId)).toBe(false);
    await expect(storage.ensure(sessionId, generation)).rejects.toThrow(/is being removed/);
    let isGone = false;
    const removal = storage.removeDiscarded(sessionId, generation).then(() => {
      isGone = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(isGone).toBe(false);
    await core.deleteNamespacedPod({ namespace, name: pod, gracePeriodSeconds: 0 });
    await removal;
    expect(await storage.measure(sessionId)).toEqual({ phase: 'Lost' });
  });

  it('a removal that takes too long names the pods that use it, and can be broken off', async () => {
    const sessionId = await made();
    const pod = await user(sessionId);
    await phaseBecomes(sessionId, 'Bound');
    await storage.discard(sessionId, generation);
    const hasty = new VolumeStorage({ cluster, claims, claimName: volumeClaimName, longestRemovalMs: 300 });
    await expect(hasty.removeDiscarded(sessionId, generation)).rejects.toThrow(`it is used by ${pod}`);
    const stopping = new AbortController();
    const removal = storage.removeDiscarded(sessionId, generation, stopping.signal);
    stopping.abort();
    await expect(removal).rejects.toThrow();
  });

  it('cannot be told about while the cluster does not answer', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'agentrun-volumes-'));
    const kubeconfig = join(folder, 'kubeconfig');
    const server = cluster.config.getCurrentCluster()?.server ?? '';
    writeFileSync(
      kubeconfig,
      readFileSync(test.kubeconfig, 'utf8').replaceAll(server, 'https://127.0.0.1:1'),
      {
        mode: 0o600,
      },
    );
    const away = connectCluster({ namespace, kubeconfig });
    rmSync(folder, { recursive: true });
    const there = new VolumeStorage({ cluster: away, claims, claimName: volumeClaimName });
    await expect(there.exists('s')).rejects.toThrow(/looking at the volume .* failed/);
  });
});
