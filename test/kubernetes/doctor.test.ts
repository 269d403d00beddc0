import { createServer, type Server } from 'node:http';
import { AuthorizationV1Api, KubeConfig, RbacAuthorizationV1Api } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CheckResult } from '../../contract/doctor.js';
import type { KubernetesSettings } from '../../infra/config/kubernetes-settings.js';
import { readWorkerConfig } from '../../infra/config/worker-config.js';
import { clusterChecks } from '../../infra/doctor/cluster-checks.js';
import { probeChecks } from '../../infra/doctor/probe-checks.js';
import { runChecks } from '../../infra/doctor/run-checks.js';
import type { Cluster } from '../../infra/kubernetes/cluster.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { builtImages } from '../support/built-images.js';
import { useCluster } from '../support/cluster.js';

/** What `worker --check` looks at in a cluster: all well, and each thing broken once. */
const cluster = await useCluster();
const inNamespace = await cluster.makeNamespace('doctor', {
  'pod-security.kubernetes.io/enforce': 'restricted',
});
const { core, namespace } = inNamespace;
let api: Server;
let apiUrl: string;
let settings: KubernetesSettings;

beforeAll(async () => {
  const { runner } = await builtImages();
  await cluster.own?.importImage(runner.archive);
  api = createServer((_request, response) => response.writeHead(200).end('{}'));
  await new Promise<void>((resolve) => api.listen(0, cluster.hostAddress, resolve));
  const address = api.address();
  apiUrl = `http://${cluster.hostAddress}:${typeof address === 'object' ? address?.port : ''}`;
  settings = settingsFor(runner.image);
  await Promise.all([
    core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: settings.serviceAccount } } }),
    core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: 'key-of-provider' }, stringData: { key: 'sk-1' } },
    }),
    core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: 'empty-key' }, stringData: { key: ' ' } },
    }),
  ]);
}, 1_200_000);
afterAll(() => {
  api?.closeAllConnections();
  api?.close();
});

function settingsFor(image: string): KubernetesSettings {
  const { runners } = readWorkerConfig({
    DATABASE_URL: 'postgres://127.0.0.1:1/none',
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    AGENTRUN_MGR_URL: 'http://127.0.0.1:1',
    AGENTRUN_RUNNER_KEYS_FILE: 'none',
    AGENTRUN_LAUNCHER: 'kubernetes',
    AGENTRUN_SESSION_STORAGE: 'pvc',
    AGENTRUN_PROVIDER_BASE_URL: 'http://127.0.0.1:1/v1',
    AGENTRUN_MODEL: 'm',
    KUBECONFIG: cluster.kubeconfig,
    AGENTRUN_RUNTIME_NAMESPACE: namespace,
    AGENTRUN_RUNNER_IMAGE: image,
    AGENTRUN_PROVIDER_SECRET: 'key-of-provider',
  });
  if (runners.launcher !== 'kubernetes') throw new Error('these are settings of a cluster');
  return runners.cluster;
}

const look = (
  change: Partial<KubernetesSettings> = {},
  over: { readonly url?: string; readonly nowMs?: () => number; readonly connect?: () => Cluster } = {},
): Promise<CheckResult[]> => {
  const changed = { ...settings, ...change };
  const { connect } = over;
  return runChecks(
    'worker',
    [
      ...clusterChecks({
        settings: changed,
        ...(over.nowMs === undefined ? {} : { nowMs: over.nowMs }),
        ...(connect === undefined ? {} : { connect }),
      }),
      ...probeChecks({
        settings: changed,
        base: { url: over.url ?? apiUrl, variable: 'AGENTRUN_INTERNAL_MGR_URL' },
        ...(connect === undefined ? {} : { connect }),
      }),
    ],
    createRedactor([]),
  );
};
const wrongOf = (results: readonly CheckResult[]) =>
  results
    .filter(({ ok, severity }) => !ok && severity !== 'skipped')
    .map(({ name, variable }) => `${name}: ${variable}`);

/** The cluster as an account without rights sees it. */
async function asAccount(name: string, verbs: readonly string[]): Promise<Cluster> {
  const { config } = inNamespace;
  await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name } } });
  const rbac = config.makeApiClient(RbacAuthorizationV1Api);
  await rbac.createNamespacedRole({
    namespace,
    body: {
      metadata: { name },
      rules: [{ apiGroups: ['batch'], resources: ['jobs'], verbs: [...verbs] }],
    },
  });
  await rbac.createNamespacedRoleBinding({
    namespace,
    body: {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
  });
  const { status } = await core.createNamespacedServiceAccountToken({
    namespace,
    name,
    body: { spec: { audiences: [], expirationSeconds: 3_600 } },
  });
  const server = config.getCurrentCluster();
  if (server === null || status === undefined) throw new Error('there is no cluster, or no token');
  const own = new KubeConfig();
  own.loadFromClusterAndUser(server, { name, token: status.token });
  return { ...inNamespace, config: own, authorization: own.makeApiClient(AuthorizationV1Api) };
}

describe('the checks of a cluster', () => {
  it('find nothing wrong, and leave no Job', { timeout: 60_000 }, async () => {
    const results = await look();
    expect(wrongOf(results)).toEqual([]);
    expect(results.map(({ name }) => name)).toEqual([
      'cluster',
      'cluster clock',
      'cluster rights',
      'session volumes',
      'pods of runners',
      'runner image',
      'provider key of runners',
      'API from a pod',
    ]);
    const jobs = await inNamespace.batch.listNamespacedJob({ namespace });
    expect(jobs.items.filter(({ metadata }) => metadata?.deletionTimestamp === undefined)).toEqual([]);
  });

  it.each<[string, () => Parameters<typeof look>, string, RegExp]>([
    ['no such file', () => [{ kubeconfig: '/nowhere/kubeconfig' }], 'cluster: KUBECONFIG', /nowhere/],
    [
      'no cluster around',
      () => [{ kubeconfig: undefined }],
      'cluster: KUBECONFIG',
      /KUBECONFIG is not set|no such file/,
    ],
    [
      'a clock that is wrong',
      () => [{}, { nowMs: () => Date.now() + 60_000 }],
      'cluster clock: KUBECONFIG',
      /behind/,
    ],
    [
      'a storage class that does not exist',
      () => [{ storage: { ...settings.storage, className: 'of-nobody' } }],
      'session volumes: AGENTRUN_SESSION_STORAGE_CLASS',
      /no storage class of-nobody/,
    ],
    [
      'a namespace that does not exist',
      () => [{ namespace: 'h8-nowhere' }],
      'session volumes: AGENTRUN_SESSION_STORAGE_CLASS',
      /namespaces "h8-nowhere" not found/,
    ],
    [
      'an image that does not exist',
      () => [{ image: 'localhost/agentrun-runner:never', imagePullPolicy: 'Never' }],
      'runner image: AGENTRUN_RUNNER_IMAGE',
      /agentrun-runner:never/,
    ],
    [
      'a Secret that does not exist',
      () => [{ providerSecret: 'of-nobody' }],
      'provider key of runners: AGENTRUN_PROVIDER_SECRET',
      /of-nobody/,
    ],
    [
      'a Secret without a key',
      () => [{ providerSecret: 'empty-key' }],
      'provider key of runners: AGENTRUN_PROVIDER_SECRET',
      /empty/,
    ],
    [
      'an address that pods do not reach',
      () => [{}, { url: 'http://127.0.0.1:1' }],
      'API from a pod: AGENTRUN_INTERNAL_MGR_URL',
      /127\.0\.0\.1:1/,
    ],
    [
      'a file of pods that is not there',
      () => [{ podFile: '/nowhere/pods.yaml' }],
      'pods of runners: AGENTRUN_RUNNER_POD_FILE',
      /nowhere/,
    ],
  ])('name %s', { timeout: 60_000 }, async (_what, change, wrong, said) => {
    const results = await look(...change());
    expect(wrongOf(results)).toContain(wrong);
    const found = results.find(({ ok, name }) => !ok && wrong.startsWith(`${name}:`));
    expect(found?.message).toMatch(said);
    expect(found?.cure).toBeTruthy();
  });

  it('name each right that is missing, and no more', { timeout: 60_000 }, async () => {
    const few = await asAccount('few-rights', ['create', 'get', 'list', 'watch', 'delete']);
    const results = await look({}, { connect: () => few });
    const rights = results.find(({ name }) => name === 'cluster rights');
    expect(rights).toMatchObject({ ok: false, variable: 'AGENTRUN_RUNTIME_NAMESPACE' });
    expect(rights?.message).toMatch(
      /: patch jobs, create secrets, patch secrets, delete secrets, get pods, /,
    );
    expect(rights?.message).toContain('get pods/log');
    expect(rights?.message).toContain('watch nodes');
    expect(results.filter(({ severity }) => severity === 'skipped').map(({ name }) => name)).toContain(
      'runner image',
    );
  });

  it('name a quota that has no room for a runner', { timeout: 60_000 }, async () => {
    const body = { metadata: { name: 'no-room' }, spec: { hard: { pods: '0' } } };
    await core.createNamespacedResourceQuota({ namespace, body });
    const results = await look();
    await core.deleteNamespacedResourceQuota({ namespace, name: 'no-room' });
    expect(wrongOf(results)).toEqual(['runner image: AGENTRUN_RUNNER_POD_FILE']);
    expect(results.find(({ name }) => name === 'runner image')?.message).toContain('quota');
  });
});
