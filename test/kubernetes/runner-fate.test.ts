import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defaultPodOptions } from '../../domain/kubernetes/pod-options.js';
import type { ProcessFate } from '../../domain/supervision.js';
import { kubernetesConfig, kubernetesVariables } from '../../infra/config/kubernetes-settings.js';
import type { Cluster } from '../../infra/kubernetes/cluster.js';
import { PodWatch } from '../../infra/kubernetes/pod-watch.js';
import { KubernetesLauncher } from '../../infra/launchers/kubernetes-launcher.js';
import type { RunnerLaunch } from '../../infra/launchers/launcher.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { pauseImage } from '../cluster/pause-image.js';
import { useCluster } from '../support/cluster.js';
import { type CuttableServer, cuttableServer } from './support/cuttable-server.js';
import {
  failingSoon,
  healthy,
  makeRunnerNeeds,
  type ShellRunner,
  startShellRunner,
} from './support/shell-runner.js';

const testCluster = await useCluster();
const logger = createLogger({ name: 'test', level: 'silent' });
const settings = {
  ...kubernetesConfig(z.object(kubernetesVariables).parse({}), pauseImage),
  graceMs: { place: 8_000, image: 6_000, volume: 8_000 },
  finishedTtlMs: 1_000,
};
const fateLimit = { timeout: 60_000, interval: 200 };

let cluster: Cluster;
let watch: PodWatch;
let launcher: KubernetesLauncher;
let way: CuttableServer;

function launcherOver(seen: PodWatch): KubernetesLauncher {
  return new KubernetesLauncher(cluster, seen, {
    cluster: settings,
    pods: () => defaultPodOptions,
    managerUrl: 'http://api.invalid',
    managerUrlVariable: 'AGENTRUN_INTERNAL_MGR_URL',
    provider: { baseUrl: 'http://provider.invalid', model: 'none' },
    bootRepositoryUrl: undefined,
    logLevel: 'info',
    otlpEndpoint: null,
    runnerLifeMs: 86_400_000,
  });
}

beforeAll(async () => {
  cluster = await testCluster.makeNamespace('h5-fate');
  way = await cuttableServer(testCluster.kubeconfig);
  watch = new PodWatch({ ...cluster, config: way.config }, logger);
  watch.start();
  launcher = launcherOver(watch);
  await makeRunnerNeeds(cluster, Object.keys(runners));
  await Promise.all(Object.entries(runners).map(([name, runner]) => startShellRunner(cluster, name, runner)));
});
afterAll(async () => {
  await watch?.stop();
  await way?.close();
});

const words = (fate: ProcessFate) =>
  fate.state === 'gone' ? `gone ${fate.cause}: ${fate.message}` : fate.state;
const fateOf = async (name: string) => words(await launcher.fate(name));
const podOf = async (job: string) => {
  const { items } = await cluster.core.listNamespacedPod({
    namespace: cluster.namespace,
    labelSelector: `batch.kubernetes.io/job-name=${job}`,
  });
  return items[0]?.metadata?.name ?? '';
};
const alive = (name: string) => expect.poll(() => fateOf(name), fateLimit).toBe('alive');

const eatMemory = 'x=0123456789abcdef; while true; do x="$x$x"; done';
const unwatched = `${healthy}; sleep 10; rm /tmp/w/healthz; sleep 1000`;

/** All at once: each is waited for by a test of its own. */
const runners: Readonly<Record<string, ShellRunner>> = {
  'refused-by-supervisor': { supervisor: 'echo "port 8181 is taken" > /dev/termination-log; exit 2' },
  'ended-in-order': { supervisor: 'exit 0' },
  failed: { supervisor: 'exit 1' },
  'refused-by-prepare': { prepare: 'echo "no such repository" > /dev/termination-log; exit 2' },
  'agent-out-of-memory': { agentHost: eatMemory },
  'agent-host-ended': { agentHost: 'sleep 4; echo "do not retry" > /dev/termination-log; exit 2' },
  unhealthy: { supervisor: unwatched, change: failingSoon },
  'no-image': { input: { image: 'registry.invalid/none:1' } },
  'no-image-name': { input: { image: 'Not A Name' } },
  'no-volume': { input: { volumeClaim: 'no-such-claim' } },
  'no-secret': { input: { providerSecret: 'no-such-secret' } },
  'no-place': { change: ({ spec }) => Object.assign(spec.template.spec.nodeSelector, { no: 'node' }) },
  'too-long': { input: { lifeMs: 6_000 } },
  lives: {},
  deleted: {},
  killed: {},
  cut: {},
};

describe('the fate of a real pod', () => {
  it.each<[string, RegExp]>([
    ['refused-by-supervisor', /^gone prerequisite-failed: port 8181 is taken$/],
    ['ended-in-order', /^gone null: container supervisor ended with exit code 0/],
    ['failed', /^gone null: container supervisor ended with exit code 1$/],
    ['refused-by-prepare', /^gone prerequisite-failed: no such repository$/],
    ['agent-out-of-memory', /^gone oom-killed: container agent-host used up its memory$/],
    ['agent-host-ended', /^gone null: container agent-host ended with exit code 2$/],
    ['unhealthy', /^gone unhealthy: container supervisor was killed: Liveness probe failed/],
    ['no-image', /^gone image-pull-failed: .*registry\.invalid/],
    ['no-image-name', /^gone image-pull-failed: InvalidImageName/],
    ['no-volume', /^gone storage-unavailable: .*persistentvolumeclaim "no-such-claim" not found/],
    ['no-secret', /^gone invalid-pod: .*secret "no-such-secret" not found/],
    ['no-place', /^gone unschedulable: 0\/\d+ nodes are available/],
    ['too-long', /^gone deadline-exceeded: /],
  ])('%s', async (name, expected) => {
    await expect.poll(() => fateOf(name), fateLimit).toMatch(expected);
  });

  it('is alive since its supervisor runs, with its node', async () => {
    await alive('lives');
    const found = await cluster.core.readNamespacedPod({
      namespace: cluster.namespace,
      name: await podOf('lives'),
    });
    const startedAt = found.status?.containerStatuses?.[0]?.state?.running?.startedAt;
    expect(await launcher.fate('lives')).toEqual({
      state: 'alive',
      startedAtMs: startedAt?.getTime(),
      node: found.spec?.nodeName,
    });
  });

  it('tells at once that a pod was deleted, and that there is no Job of a name', async () => {
    await alive('deleted');
    let changes = 0;
    const unwatch = launcher.watch('deleted', () => {
      changes += 1;
    });
    await cluster.core.deleteNamespacedPod({ namespace: cluster.namespace, name: await podOf('deleted') });
    await expect.poll(() => fateOf('deleted'), fateLimit).toMatch(/^gone evicted: its pod was deleted$/);
    expect(changes).toBeGreaterThan(0);
    unwatch();
    expect(await fateOf('never-made')).toBe('gone null: its Job is not in the cluster');
  });

  it('tells that a container was killed', async ({ skip }) => {
    if (testCluster.own === undefined) return skip('containers are killed on our own node only');
    await alive('killed');
    await testCluster.own.killContainers({ namespace: cluster.namespace, name: await podOf('killed') }, [
      'supervisor',
    ]);
    await expect
      .poll(() => fateOf('killed'), fateLimit)
      .toBe('gone null: container supervisor ended with exit code 137');
  });

  it('knows a Job that is younger than what was heard of it, and asks nobody while the API server is away', async () => {
    await alive('cut');
    way.cut();
    await cluster.core.deleteNamespacedPod({ namespace: cluster.namespace, name: await podOf('cut') });
    await startShellRunner(cluster, 'young', { input: { volumeClaim: 'no-such-claim' } });
    expect(await fateOf('young')).toBe('waiting');
    expect(await fateOf('cut')).toBe('alive');
    way.restore();
    await expect.poll(() => fateOf('cut'), { timeout: 15_000 }).toMatch(/^gone evicted/);
  });
});

describe('ending a runner', () => {
  it('keeps what can be seen of it, and answers when its pod is not in the cluster any more', async () => {
    await alive('lives');
    const seen = await launcher.diagnostics('lives');
    expect(seen).toMatchObject({ pod: { phase: 'Running' }, node: { isReady: true } });
    expect(JSON.stringify(seen?.events)).toContain('Started');
    await launcher.stop('lives');
    expect(await podOf('lives')).toBe('');
    await expect.poll(() => fateOf('lives'), fateLimit).toBe('gone null: its Job is not in the cluster');
    await launcher.stop('lives');
    expect(await launcher.diagnostics('lives')).toBeUndefined();
  });

  it('leaves the Job of one that has ended to the cluster, for a while', async () => {
    await expect.poll(() => fateOf('failed'), fateLimit).toMatch(/^gone/);
    await launcher.retire('failed');
    await expect.poll(async () => (await watch.facts('failed'))?.job ?? null, { timeout: 30_000 }).toBeNull();
    await launcher.retire('failed');
  });
});

describe('launching a runner', () => {
  const launch = (over: Partial<RunnerLaunch> = {}): RunnerLaunch => ({
    jobId: 'job_1',
    jobName: 'agentrun-launched-1',
    runId: 'run_launched',
    epoch: 1,
    sessionId: 'sess_launched',
    tenantId: 'acme',
    volumeName: 'session-volume',
    backendProfile: 'codex',
    workspace: null,
    leaseMs: 60_000,
    launchToken: 'launch-token-of-the-test',
    traceparent: null,
    ...over,
  });
  const never = new AbortController().signal;

  it('makes Secret and Job once, the Secret goes with the Job, and no secret is in the Job', async () => {
    await Promise.all([launcher.launch(launch(), never), launcher.launch(launch(), never)]);
    await launcher.launch(launch({ launchToken: 'another' }), never);
    const name = 'agentrun-launched-1';
    const { namespace } = cluster;
    const job = await cluster.batch.readNamespacedJob({ namespace, name });
    const secret = await cluster.core.readNamespacedSecret({ namespace, name });
    expect(secret.metadata?.ownerReferences).toMatchObject([{ kind: 'Job', uid: job.metadata?.uid }]);
    const launched = Buffer.from(secret.data?.['launch.json'] ?? '', 'base64').toString();
    expect(JSON.parse(launched)).toMatchObject({ launchToken: 'launch-token-of-the-test', jobName: name });
    expect(JSON.stringify(job)).not.toContain('launch-token');
    expect((await launcher.fate(name)).state).not.toBe('gone');
    await launcher.stop(name);
    await expect(cluster.core.readNamespacedSecret({ namespace, name })).rejects.toMatchObject({ code: 404 });
  });

  it.each<[string, Partial<RunnerLaunch>, RegExp]>([
    ['a name that is too long', { jobName: `agentrun-${'x'.repeat(60)}` }, /63/],
    ['no volume', { volumeName: null }, /AGENTRUN_SESSION_STORAGE=pvc/],
  ])('refuses %s before anything is made', async (_, over, expected) => {
    await expect(launcher.launch(launch(over), never)).rejects.toThrow(expected);
    const { items } = await cluster.core.listNamespacedSecret({ namespace: cluster.namespace });
    expect(items.map(({ metadata }) => metadata?.name)).not.toContain(over.jobName ?? 'agentrun-launched-1');
  });

  it('says that a quota has no room, leaves no Secret, and may be asked again', async () => {
    const { namespace } = cluster;
    await cluster.core.createNamespacedResourceQuota({
      namespace,
      body: { metadata: { name: 'no-jobs' }, spec: { hard: { 'count/jobs.batch': '0' } } },
    });
    const quota = launcher.launch(launch({ jobName: 'agentrun-quota-1' }), never);
    await expect(quota).rejects.toMatchObject({
      failureKind: 'unschedulable',
      message: expect.stringContaining('exceeded quota'),
    });
    await cluster.core.deleteNamespacedResourceQuota({ namespace, name: 'no-jobs' });
    await expect(
      cluster.core.readNamespacedSecret({ namespace, name: 'agentrun-quota-1' }),
    ).rejects.toMatchObject({ code: 404 });
  });

  it('waits for room where a quota refuses the pod, in the words of the cluster', async () => {
    const { namespace } = cluster;
    await cluster.core.createNamespacedResourceQuota({
      namespace,
      body: { metadata: { name: 'no-pods' }, spec: { hard: { pods: '0' } } },
    });
    await startShellRunner(cluster, 'no-room', {});
    await expect
      .poll(() => launcher.fate('no-room'), fateLimit)
      .toMatchObject({ state: 'waiting', for: 'place', message: expect.stringContaining('exceeded quota') });
    await expect.poll(() => fateOf('no-room'), fateLimit).toMatch(/^gone unschedulable: .*exceeded quota/);
    await cluster.core.deleteNamespacedResourceQuota({ namespace, name: 'no-pods' });
  });
});

// Last: what is said of events on the connections that it mutes is heard a minute later.
describe('a connection to the API server that went mute', () => {
  it('is made anew, and what was missed is heard', async () => {
    await startShellRunner(cluster, 'mute', { input: { volumeClaim: 'no-such-claim' } });
    await expect.poll(() => watch.facts('mute').then((facts) => facts?.pod?.name), fateLimit).toBeTruthy();
    way.mute();
    const mutedAtMs = Date.now();
    await cluster.batch.deleteNamespacedJob({
      namespace: cluster.namespace,
      name: 'mute',
      propagationPolicy: 'Background',
    });
    await expect.poll(() => fateOf('mute'), { timeout: 60_000 }).toMatch(/^gone/);
    expect(Date.now() - mutedAtMs).toBeLessThan(45_000);
  });
});
