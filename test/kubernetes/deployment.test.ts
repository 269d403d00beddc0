import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { overlayApiUrl, writeKubernetesOverlay } from '../../cli/demo/kubernetes-overlay.js';
import { jobManifest } from '../../domain/kubernetes/job-manifest.js';
import { components, labels } from '../../domain/kubernetes/labels.js';
import { launchSecretManifest } from '../../domain/kubernetes/launch-secret.js';
import { volumeClaimManifest } from '../../domain/kubernetes/volume-claim.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { pauseImage } from '../cluster/pause-image.js';
import { badRunners } from '../support/bad-runners.js';
import { changed } from '../support/changed.js';
import { useCluster } from '../support/cluster.js';
import { type Kubectl, type KubectlEnd, kubectl, rendered, underNamesOf } from '../support/deployment.js';
import { jobInput } from '../support/job-input.js';
import { parseManifests } from '../support/manifests.js';
import { policyFindings } from '../support/pod-policy.js';

const cluster = await useCluster();
const { own } = cluster;
const tool: Kubectl = { program: own?.layout.kubectl ?? 'kubectl', kubeconfig: cluster.kubeconfig };
/** Of documentation (RFC 5737) where the cluster is somebody else's: nothing is sent there. */
const hostAddress = own?.layout.hostAddress ?? '192.0.2.1';
const idleImage = own === undefined ? 'registry.k8s.io/pause:3.10' : pauseImage;
/** Beside other installations in the same cluster. */
const mark = `deploy-${randomBytes(3).toString('hex')}`;
const folder = mkdtempSync(join(tmpdir(), 'agentrun-overlay-'));
const definition = readFileSync(new URL('service-monitor-definition.yaml', import.meta.url), 'utf8');
const run = (args: readonly string[], input?: string): Promise<KubectlEnd> => kubectl(tool, args, input);
const dryRun = ['apply', '--server-side', '--dry-run=server', '--filename=-'];
const create = (manifest: unknown): Promise<KubectlEnd> =>
  run(['create', '--dry-run=server', '--filename=-'], JSON.stringify(manifest));

let madeDefinition = false;

const runners = `${mark}-runners`;
const job = jobManifest(jobInput({ namespace: runners }));

/** @throws Error with kubectl's words. */
async function done(end: Promise<KubectlEnd>): Promise<string> {
  const { code, stdout, stderr } = await end;
  if (code !== 0) throw new Error(stderr);
  return stdout;
}

/** Only what the API server looks at when other things are made: no program is started. */
const lasting =
  /^kind: (Namespace|ServiceAccount|ClusterRole|ClusterRoleBinding|Role|RoleBinding|PodDisruptionBudget|ValidatingAdmissionPolicy|ValidatingAdmissionPolicyBinding)$/m;

beforeAll(async () => {
  // One that Prometheus Operator brought is left as it is.
  madeDefinition = (await run(['create', '--filename=-'], definition)).code === 0;
  const base = underNamesOf(mark, await rendered(tool, 'production')).split('\n---\n');
  await done(run(['wait', '--for=condition=Established', '--timeout=30s', '--filename=-'], definition));
  await done(
    run(
      ['apply', '--server-side', '--filename=-'],
      base.filter((text) => lasting.test(text)).join('\n---\n'),
    ),
  );
  // The API server learns of its policies after a while.
  const deadline = performance.now() + 30_000;
  const refused = changed(job, ['spec', 'template', 'spec', 'automountServiceAccountToken'], true);
  while ((await create(refused)).code === 0) {
    if (performance.now() > deadline) throw new Error('the policy did not come into force within 30 s');
    await sleep(250);
  }
}, 90_000);

afterAll(async () => {
  rmSync(folder, { recursive: true });
  if (madeDefinition) await run(['delete', '--wait=false', '--filename=-'], definition);
  await run(['delete', '--ignore-not-found', '--wait=false', 'namespace', `${mark}-main`, runners]);
  await run([
    'delete',
    '--ignore-not-found',
    `validatingadmissionpolicy/${mark}-runners`,
    `validatingadmissionpolicybinding/${mark}-runners`,
    `clusterrole/${mark}-worker-nodes`,
    `clusterrolebinding/${mark}-worker-nodes`,
  ]);
});

describe('the API server takes', () => {
  it.each(['dev', 'e2e', 'production'])('all of overlay %s, without a warning', async (overlay) => {
    const manifests = underNamesOf(mark, await rendered(tool, overlay));
    const { stdout, stderr, code } = await run(dryRun, manifests);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(stdout.trim().split('\n')).toHaveLength(parseManifests(manifests).length);
  });

  it('the overlay of the demo, with its addresses, images and Secrets', async () => {
    const secret = `never-shown-${randomBytes(8).toString('hex')}`;
    const apiClusterIp = own?.serviceAddress(16) ?? 'None';
    writeKubernetesOverlay({
      folder,
      packageRoot: packageRoot(),
      hostAddress,
      temporalPort: 7_233,
      providerBaseUrl: `http://${hostAddress}:18080/v1`,
      apiClusterIp,
      images: {
        api: 'agentrun/api:1a',
        worker: 'localhost:5000/agentrun/worker:2b',
        runner: 'agentrun/runner:3c',
      },
      secrets: {
        databaseUrl: secret,
        runnerKeys: secret,
        apiTokens: secret,
        webhookKey: secret,
        providerKey: secret,
      },
    });
    const manifests = underNamesOf(mark, await done(run(['kustomize', folder])));
    expect(await run(dryRun, manifests)).toMatchObject({ stderr: '', code: 0 });
    const objects = parseManifests(manifests);
    const named = (kind: string, name: RegExp) =>
      objects.find((each) => each.kind === kind && name.test(each.metadata.name));
    expect(named('Service', /^agentrun-mgr$/)).toMatchObject({ spec: { clusterIP: apiClusterIp } });
    expect(named('ConfigMap', /^agentrun-settings/)).toMatchObject({
      data: {
        AGENTRUN_INTERNAL_MGR_URL: overlayApiUrl({ apiClusterIp }),
        TEMPORAL_ADDRESS: `${hostAddress}:7233`,
        AGENTRUN_RUNNER_IMAGE: 'agentrun/runner:3c',
        AGENTRUN_SESSION_STORAGE: 'pvc',
      },
    });
    expect(named('Secret', /^agentrun-provider$/)?.metadata.namespace).toBe(runners);
    expect(manifests).toContain('image: localhost:5000/agentrun/worker:2b\n');
    expect(manifests).not.toContain(secret);
    expect(objects.flatMap((each) => policyFindings(each, { excused: ['service-account-token'] }))).toEqual(
      [],
    );
  });

  it('what the worker makes: Secret, volume claim and Job', async () => {
    const made = [
      job,
      launchSecretManifest({
        name: job.metadata.name,
        namespace: runners,
        labels: {},
        launch: '{}',
        prepare: '{}',
      }),
      volumeClaimManifest({
        name: 'agentrun-session-4f1c',
        namespace: runners,
        sessionId: 'My.Session_1',
        generation: '1',
        className: undefined,
        size: '1Gi',
        accessMode: 'ReadWriteOnce',
      }),
    ];
    for (const manifest of made) expect(await create(manifest)).toMatchObject({ stderr: '', code: 0 });
  });

  it('the expressions of the policy, without a remark on their types', async () => {
    const status = await done(
      run(['get', 'validatingadmissionpolicy', `${mark}-runners`, '--output=jsonpath={.status}']),
    );
    const { typeChecking } = z.object({ typeChecking: z.object({}).strict() }).parse(JSON.parse(status));
    expect(typeChecking).toEqual({});
  });
});

describe('the admission policy refuses', () => {
  const bad = badRunners(job);

  it('each of the 14 rules of security.md 4, and ours', () => {
    expect([...new Set(bad.map(({ rule }) => rule))].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 18 }, (_, index) => index + 1),
    );
  });

  it.each(bad)('rule $rule: $how', async ({ rule, job: broken }) => {
    const { code, stderr } = await create(broken);
    expect(code).toBe(1);
    expect(stderr).toContain(`ValidatingAdmissionPolicy '${mark}-runners'`);
    expect(stderr).toContain(`denied request: ${rule}: `);
  });

  it('a pod that nobody made a Job for', async () => {
    const pod = (automountServiceAccountToken: boolean) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'alone', namespace: runners },
      spec: { ...job.spec.template.spec, automountServiceAccountToken },
    });
    expect(await create(pod(false))).toMatchObject({ code: 0 });
    const { code, stderr } = await create(pod(true));
    expect(code).toBe(1);
    expect(stderr).toContain('denied request: 3: ');
  });

  it('nothing in other namespaces', async () => {
    const elsewhere = changed(job, ['metadata', 'namespace'], `${mark}-main`);
    const broken = changed(elsewhere, ['spec', 'template', 'spec', 'automountServiceAccountToken'], true);
    expect(await create(broken)).toMatchObject({ code: 0 });
  });
});

describe('rights', () => {
  const reviewSchema = z.object({ status: z.object({ allowed: z.boolean().default(false) }) });

  async function may(
    account: string,
    verb: string,
    resource: string,
    namespace: string | undefined,
  ): Promise<boolean> {
    const [name = '', subresource] = resource.split('/');
    const answer = await done(
      run(
        ['create', '--filename=-', '--output=json'],
        JSON.stringify({
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SubjectAccessReview',
          spec: {
            user: `system:serviceaccount:${account}`,
            groups: ['system:serviceaccounts', 'system:authenticated'],
            resourceAttributes: {
              namespace,
              verb,
              resource: name,
              subresource,
              group: name === 'jobs' ? 'batch' : name === 'roles' ? 'rbac.authorization.k8s.io' : '',
            },
          },
        }),
      ),
    );
    return reviewSchema.parse(JSON.parse(answer)).status.allowed;
  }

  const worker = `${mark}-main:agentrun-worker`;

  it.each([
    ['create', 'jobs', true],
    ['patch', 'jobs', true],
    ['delete', 'jobs', true],
    ['deletecollection', 'jobs', false],
    ['watch', 'pods', true],
    ['create', 'pods', false],
    ['delete', 'pods', false],
    ['get', 'pods/log', true],
    ['create', 'pods/exec', false],
    ['create', 'pods/attach', false],
    ['create', 'pods/portforward', false],
    ['patch', 'pods/ephemeralcontainers', false],
    ['create', 'secrets', true],
    ['patch', 'secrets', true],
    ['delete', 'secrets', true],
    ['get', 'secrets', false],
    ['list', 'secrets', false],
    ['watch', 'secrets', false],
    ['create', 'persistentvolumeclaims', true],
    ['delete', 'persistentvolumeclaims', true],
    ['patch', 'persistentvolumeclaims', false],
    ['list', 'events', true],
    ['update', 'configmaps', false],
    ['create', 'roles', false],
    ['create', 'serviceaccounts/token', false],
  ])('of the worker with runners: %s %s is %s', async (verb, resource, allowed) => {
    expect(await may(worker, verb, resource, runners)).toBe(allowed);
  });

  it.each([
    ['create', 'jobs'],
    ['get', 'secrets'],
    ['list', 'pods'],
  ])('of the worker beside itself: no %s %s', async (verb, resource) => {
    expect(await may(worker, verb, resource, `${mark}-main`)).toBe(false);
  });

  it.each([
    ['get', 'nodes', true],
    ['watch', 'nodes', true],
    ['patch', 'nodes', false],
    ['get', 'nodes/proxy', false],
    ['list', 'persistentvolumes', false],
    ['list', 'namespaces', false],
  ])('of the worker in the cluster: %s %s is %s', async (verb, resource, allowed) => {
    expect(await may(worker, verb, resource, undefined)).toBe(allowed);
  });

  it.each([
    ['API', `${mark}-main:agentrun-api`],
    ['migrator', `${mark}-main:agentrun-migrate`],
    ['runner', `${runners}:agentrun-v01-runner`],
  ])('of the %s: none', async (_name, account) => {
    for (const [verb, resource] of [
      ['create', 'jobs'],
      ['list', 'pods'],
      ['get', 'secrets'],
      ['create', 'secrets'],
    ] as const)
      expect(await may(account, verb, resource, runners), `${verb} ${resource}`).toBe(false);
    expect(await may(account, 'list', 'nodes', undefined)).toBe(false);
  });
});

describe('a drain', () => {
  const evict = (name: string) =>
    run(
      ['create', '--raw', `/api/v1/namespaces/${runners}/pods/${name}/eviction`, '--filename=-'],
      JSON.stringify({
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name, namespace: runners },
      }),
    );

  /** A Job that does nothing, with the pod that Kubernetes made for it once it is ready. */
  async function waitingPod(component: string): Promise<string> {
    const name = `waits-${component}`;
    const { template } = job.spec;
    const [supervisor] = template.spec.containers;
    const waits = {
      ...job,
      metadata: { name, namespace: runners },
      spec: {
        activeDeadlineSeconds: 300,
        template: {
          metadata: { labels: { [labels.component]: component } },
          spec: {
            ...template.spec,
            terminationGracePeriodSeconds: 0,
            initContainers: [],
            volumes: [],
            containers: [
              {
                name: 'waits',
                image: idleImage,
                resources: {
                  requests: { cpu: '1m', memory: '1Mi', 'ephemeral-storage': '1Mi' },
                  limits: { cpu: '100m', memory: '16Mi', 'ephemeral-storage': '1Mi' },
                },
                securityContext: supervisor.securityContext,
              },
            ],
          },
        },
      },
    };
    await done(run(['create', '--filename=-'], JSON.stringify(waits)));
    await done(
      run([
        'wait',
        `--namespace=${runners}`,
        `--selector=job-name=${name}`,
        '--for=create',
        'pod',
        '--timeout=30s',
      ]),
    );
    await done(
      run([
        'wait',
        `--namespace=${runners}`,
        `--selector=job-name=${name}`,
        '--for=condition=Ready',
        'pod',
        '--timeout=50s',
      ]),
    );
    return done(
      run([
        'get',
        'pods',
        `--namespace=${runners}`,
        `--selector=job-name=${name}`,
        '--output=jsonpath={.items[0].metadata.name}',
      ]),
    );
  }

  it('leaves a busy runner alone, and takes what is none', async () => {
    const [runner, other] = await Promise.all([waitingPod(components.runner), waitingPod('other')]);
    const refused = await evict(runner);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('disruption budget');
    expect(await evict(other)).toMatchObject({ code: 0 });
    const left = await done(
      run(['get', 'pods', `--namespace=${runners}`, '--output=jsonpath={.items[*].metadata.name}']),
    );
    expect(left.split(' ')).toContain(runner);
  }, 120_000);
});
