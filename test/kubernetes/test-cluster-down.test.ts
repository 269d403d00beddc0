import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { connectCluster } from '../../infra/kubernetes/cluster.js';
import { clusterDown, clusterUp, runningCluster } from '../cluster/cluster.js';
import { run } from '../cluster/commands.js';
import type { ClusterLayout } from '../cluster/layout.js';
import { pauseImage } from '../cluster/pause-image.js';

// A cluster of its own beside the one that other files use.
const folder = mkdtempSync(join(tmpdir(), 'agentrun-cluster-'));
const quiet = () => undefined;

describe.runIf(process.getuid?.() === 0)('cluster:up and cluster:down', () => {
  afterAll(async () => {
    await clusterDown(folder);
  });

  it('up replaces what is there, and down leaves nothing on this machine', async () => {
    const before = await machine();
    const first = await clusterUp(folder, quiet);
    await runPodWithVolume(first);
    expect(traces(first)).toMatchObject({
      interface: true,
      processes: expect.any(Array),
      controlGroups: expect.any(Array),
    });
    expect(traces(first).processes.length).toBeGreaterThan(5);

    // What an `up` leaves that was killed before its end.
    rmSync(join(folder, 'cluster.json'));
    expect(runningCluster(folder)).toBeUndefined();
    const second = await clusterUp(folder, quiet);
    expect(second.hostAddress).toBe(first.hostAddress);
    const { core } = connectCluster({ namespace: 'default', kubeconfig: second.kubeconfig });
    expect((await core.listNamespacedPod({ namespace: 'default' })).items).toEqual([]);

    await clusterDown(folder);
    expect(traces(second)).toEqual({ interface: false, mounts: [], controlGroups: [], processes: [] });
    expect(await machine()).toEqual(before);
    expect(existsSync(folder)).toBe(false);
    await expect(clusterDown(folder)).resolves.toBeUndefined();
  });
});

/** What must be the same after as before, whoever uses the machine meanwhile. */
async function machine() {
  const rules = await run('iptables-save', []);
  return {
    rules: rules.split('\n').filter((line) => line.includes('KUBE') || line.includes('CNI')),
    settings: ['kernel/panic', 'vm/overcommit_memory', 'net/ipv4/ip_forward'].map((name) =>
      readFileSync(`/proc/sys/${name}`, 'utf8'),
    ),
  };
}

/** What is there of this cluster. */
function traces({ name }: ClusterLayout) {
  return {
    interface: existsSync(`/sys/class/net/${name}`),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(folder)),
    controlGroups: ['', ...readdirSync('/sys/fs/cgroup')]
      .map((hierarchy) => join('/sys/fs/cgroup', hierarchy, name))
      .filter((group) => existsSync(group)),
    processes: readdirSync('/proc').filter(
      (entry) => /^\d+$/.test(entry) && commandLine(entry).includes(folder),
    ),
  };
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

async function runPodWithVolume({ kubeconfig }: ClusterLayout): Promise<void> {
  const namespace = 'default';
  const { core } = connectCluster({ namespace, kubeconfig });
  await core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: {
      metadata: { name: 'files' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  });
  const memory = { name: 'memory', emptyDir: { medium: 'Memory' } };
  await core.createNamespacedPod({
    namespace,
    body: {
      metadata: { name: 'writer' },
      spec: {
        volumes: [{ name: 'files', persistentVolumeClaim: { claimName: 'files' } }, memory],
        containers: [
          {
            name: 'main',
            image: pauseImage,
            volumeMounts: [
              { name: 'files', mountPath: '/files', subPath: 'agent' },
              { name: 'memory', mountPath: '/memory' },
            ],
          },
        ],
      },
    },
  });
  await vi.waitFor(
    async () =>
      expect((await core.readNamespacedPod({ namespace, name: 'writer' })).status?.phase).toBe('Running'),
    { timeout: 60_000, interval: 250 },
  );
}
