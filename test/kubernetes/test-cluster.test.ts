import { createServer } from 'node:http';
import type { V1Job, V1PodSpec } from '@kubernetes/client-node';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { pauseImage } from '../cluster/pause-image.js';
import { useCluster } from '../support/cluster.js';

const cluster = await useCluster();
const { own } = cluster;
const { batch, core, namespace } = await cluster.makeNamespace('test-cluster');

describe('a Job', () => {
  it('runs to its end, with a volume that it may write to and a program of this machine that it reaches', async () => {
    const greeter = createServer((_, response) => response.end('hello from the host'));
    await new Promise<void>((listening) => greeter.listen(0, cluster.hostAddress, listening));
    afterAll(() => greeter.close());
    const address = greeter.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no port');
    await core.createNamespacedPersistentVolumeClaim({
      namespace,
      body: {
        metadata: { name: 'files' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    });
    const fetched = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc ${cluster.hostAddress} ${address.port}`;
    await batch.createNamespacedJob({
      namespace,
      body: job('writes', [`id -u > /files/user && cat /files/user && ${fetched}`], 'files'),
    });
    await expectComplete('writes');
    const log = await core.readNamespacedPodLog({
      namespace,
      name: await podOf('writes'),
      container: 'main',
    });
    expect(log).toMatch(/^10001\n/);
    expect(log).toContain('hello from the host');
    const claim = await core.readNamespacedPersistentVolumeClaim({ namespace, name: 'files' });
    expect(claim.status?.phase).toBe('Bound');
  });
});

describe.runIf(own !== undefined)('a Service with a fixed address', () => {
  it('is reached from a pod and from this machine', async () => {
    const address = own?.serviceAddress(16) ?? '';
    await core.createNamespacedPod({
      namespace,
      body: {
        metadata: { name: 'server', labels: { app: 'server' } },
        spec: podSpec([
          'mkdir /tmp/www && echo served > /tmp/www/index.html && httpd -f -p 8080 -h /tmp/www',
        ]),
      },
    });
    await core.createNamespacedService({
      namespace,
      body: {
        metadata: { name: 'server' },
        spec: { clusterIP: address, selector: { app: 'server' }, ports: [{ port: 80, targetPort: 8_080 }] },
      },
    });
    await vi.waitFor(async () => expect(await (await fetch(`http://${address}/`)).text()).toBe('served\n'), {
      timeout: 30_000,
      interval: 250,
    });
    await batch.createNamespacedJob({
      namespace,
      body: job('asks', [`printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc ${address} 80 | grep served`]),
    });
    await expectComplete('asks');
  });
});

describe.runIf(own !== undefined)('faults', () => {
  it('a killed container ends its pod with 137', async () => {
    await batch.createNamespacedJob({ namespace, body: job('killed', ['sleep 1000']) });
    const name = await vi.waitFor(async () => runningPodOf('killed'), { timeout: 30_000, interval: 100 });
    const killed = await own?.killContainers({ namespace, name }, ['main']);
    expect(killed?.map((container) => container.name)).toEqual(['main']);
    await vi.waitFor(
      async () => {
        const pod = await core.readNamespacedPod({ namespace, name });
        expect(pod.status?.containerStatuses?.[0]?.state?.terminated?.exitCode).toBe(137);
      },
      { timeout: 15_000, interval: 250 },
    );
  });

  it('an API server that ended as in a crash comes back with what it knew', async () => {
    await own?.stopApiServer();
    await expect(core.readNamespace({ name: namespace })).rejects.toThrow();
    await own?.startApiServer();
    expect((await core.readNamespace({ name: namespace })).metadata?.name).toBe(namespace);
  });

  it('a node without kubelet is lost within 15 s, and ready again when it is back', async () => {
    await own?.stopKubelet();
    try {
      await vi.waitFor(async () => expect(await nodeReady()).toBe('Unknown'), {
        timeout: 15_000,
        interval: 500,
      });
    } finally {
      await own?.startKubelet();
    }
    expect(await nodeReady()).toBe('True');
  });
});

async function nodeReady(): Promise<string | undefined> {
  const [node] = (await core.listNode()).items;
  return node?.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
}

async function podOf(jobName: string): Promise<string> {
  const { items } = await core.listNamespacedPod({ namespace, labelSelector: `job-name=${jobName}` });
  const name = items[0]?.metadata?.name;
  if (name === undefined) throw new Error(`the Job ${jobName} has no pod yet`);
  return name;
}

async function runningPodOf(jobName: string): Promise<string> {
  const name = await podOf(jobName);
  const pod = await core.readNamespacedPod({ namespace, name });
  if (pod.status?.phase !== 'Running') throw new Error(`the pod is ${pod.status?.phase}`);
  return name;
}

async function expectComplete(name: string): Promise<void> {
  await vi.waitFor(
    async () => expect((await batch.readNamespacedJob({ namespace, name })).status?.succeeded).toBe(1),
    { timeout: 60_000, interval: 250 },
  );
}

function job(name: string, script: readonly [string], claimName?: string): V1Job {
  return {
    metadata: { name },
    spec: { backoffLimit: 0, template: { spec: podSpec(script, claimName) } },
  };
}

function podSpec([script]: readonly [string], claimName?: string): V1PodSpec {
  const files = claimName === undefined ? {} : { persistentVolumeClaim: { claimName } };
  return {
    restartPolicy: 'Never',
    securityContext: { runAsUser: 10_001, runAsGroup: 10_001, fsGroup: 10_001 },
    volumes: [{ name: 'files', ...(claimName === undefined ? { emptyDir: {} } : files) }],
    containers: [
      {
        name: 'main',
        image: pauseImage,
        command: ['sh', '-c', script],
        volumeMounts: [{ name: 'files', mountPath: '/files', subPath: 'agent' }],
      },
    ],
  };
}
