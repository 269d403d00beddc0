import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, test } from 'vitest';
import { z } from 'zod';
import { components } from '../../domain/kubernetes/labels.js';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import { readApiConfig } from '../../infra/config/api-config.js';
import { readMigrateConfig } from '../../infra/config/migrate-config.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { startWarnings } from '../../infra/config/start-warnings.js';
import { readWorkerConfig } from '../../infra/config/worker-config.js';
import { readPodOptions } from '../../infra/kubernetes/pod-options.js';
import { newKeySet } from '../support/api.js';
import { allManifests, deployFolder, manifestFiles, type Workload, workloads } from '../support/manifests.js';
import { policyFindings } from '../support/pod-policy.js';

const all = allManifests();
const deployed = workloads(all);
const folder = mkdtempSync(join(tmpdir(), 'agentrun-deploy-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Files of Secrets, as an operator fills them. */
const secretContents: Readonly<Record<string, string>> = {
  '/secrets/database/url': 'postgres://agentrun:secret@postgres:5432/agentrun',
  '/secrets/runner-keys/keys.json': JSON.stringify(newKeySet('test-1')),
  '/secrets/api-tokens/tokens.json': JSON.stringify([
    { name: 'operator', tokenSha256: 'a'.repeat(64), scopes: ['admin'] },
  ]),
};

/** The lines of an `.env` file of kustomize. */
function envFile(path: string): Record<string, string> {
  const lines = readFileSync(join(deployFolder, path), 'utf8').split('\n');
  return Object.fromEntries(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** What the container's program finds in its environment; paths of Secrets lead to files of this test. */
function environmentOf(
  workload: Workload,
  overlay: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const [container] = workload.spec.template.spec.containers;
  const settings = container.envFrom.length === 0 ? {} : { ...envFile('base/settings.env'), ...overlay };
  const own = container.env.map(({ name, value }): [string, string] => {
    const content = secretContents[value];
    if (content === undefined) return [name, value];
    const path = join(folder, value.replaceAll('/', '-'));
    writeFileSync(path, content, { mode: 0o600 });
    return [name, path];
  });
  return { ...settings, ...Object.fromEntries(own) };
}

const workload = (name: string): Workload => {
  const found = deployed.find(({ metadata }) => metadata.name === name);
  if (found === undefined) throw new Error(`deploy/ has no ${name}`);
  return found;
};

describe('every file', () => {
  it.each(manifestFiles())('%s holds objects that kustomize is told of', (file) => {
    const [, name = ''] = /([^/]+)$/.exec(file) ?? [];
    const kustomization = readFileSync(join(deployFolder, file, '..', 'kustomization.yaml'), 'utf8');
    expect(kustomization).toContain(`- ${name}\n`);
  });

  it('names each object once', () => {
    const names = all.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
    expect(names).toEqual([...new Set(names)]);
  });

  it('holds no Secret: they are made by hand, or from files that are not here', () => {
    expect(all.filter(({ kind }) => kind === 'Secret')).toEqual([]);
  });

  it('puts everything that has a namespace into one of the two', () => {
    const wide = new Set([
      'Namespace',
      'ClusterRole',
      'ClusterRoleBinding',
      'ValidatingAdmissionPolicy',
      'ValidatingAdmissionPolicyBinding',
    ]);
    for (const { kind, metadata } of all)
      expect(
        wide.has(kind) ? [undefined] : ['agentrun', 'agentrun-v01'],
        `${kind} ${metadata.name}`,
      ).toContain(metadata.namespace);
  });
});

describe('namespaces', () => {
  it.each(['agentrun', 'agentrun-v01'])('%s takes restricted pods only', (name) => {
    const labels = all.find(({ kind, metadata }) => kind === 'Namespace' && metadata.name === name)?.metadata
      .labels;
    expect(labels).toMatchObject({
      'pod-security.kubernetes.io/enforce': 'restricted',
      'pod-security.kubernetes.io/audit': 'restricted',
      'pod-security.kubernetes.io/warn': 'restricted',
    });
  });
});

describe('workloads', () => {
  it('are API, worker and migrator', () => {
    expect(deployed.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual([
      'Deployment agentrun-api',
      'Deployment agentrun-worker',
      'Job agentrun-migrate',
    ]);
  });

  it('start programs that the build makes, each from its own image', () => {
    const sources = deployed.map(({ spec }) => {
      const [container] = spec.template.spec.containers;
      const [, program = ''] = /^\/app\/dist\/(.*)\.js$/.exec(container.args[1] ?? '') ?? [];
      expect(existsSync(join(packageRoot(), `${program}.ts`)), program).toBe(true);
      return [container.image, program];
    });
    expect(sources).toEqual([
      ['agentrun/api', 'api/main'],
      ['agentrun/api', 'store/migrate-main'],
      ['agentrun/worker', 'worker/main'],
    ]);
  });

  it('have a token of Kubernetes only where one is needed', () => {
    const withToken = deployed.filter(({ spec }) => spec.template.spec.automountServiceAccountToken);
    expect(withToken.map(({ metadata }) => metadata.name)).toEqual(['agentrun-worker']);
  });

  it('keep to the policy that runners keep to', () => {
    for (const manifest of all) {
      const isWorker = manifest.metadata.name === 'agentrun-worker' && manifest.kind === 'Deployment';
      const findings = policyFindings(manifest, {
        // The images of an overlay have a digest. The worker's token is what it makes Jobs with.
        excused: ['pinned-image', ...(isWorker ? (['service-account-token'] as const) : [])],
      });
      expect(findings).toEqual([]);
    }
  });

  it('get secrets as files of volumes, and every file that a variable names lies in one', () => {
    for (const { metadata, spec } of deployed) {
      const [container] = spec.template.spec.containers;
      for (const { name, value } of container.env) {
        if (!value.startsWith('/secrets/')) continue;
        const mount = container.volumeMounts.find(({ mountPath }) => value.startsWith(`${mountPath}/`));
        const volume = spec.template.spec.volumes.find((each) => each.name === mount?.name);
        expect(volume?.secret?.secretName, `${metadata.name}: ${name}`).toMatch(/^agentrun-/);
      }
    }
  });

  it('never see the key of the model provider', () => {
    const text = JSON.stringify(deployed);
    expect(text).not.toContain('agentrun-provider');
    expect(text).not.toContain('PROVIDER_KEY');
  });
});

describe('settings', () => {
  const production = envFile('overlays/production/settings.env');

  it.each([
    ['base', {}],
    ['production', production],
  ])('of %s are what API, worker and migrator take', (_name, overlay) => {
    const api = readApiConfig(environmentOf(workload('agentrun-api'), overlay));
    expect(api).toMatchObject({ host: '0.0.0.0', port: 8080, shutdownDelayMs: 10_000 });
    const worker = readWorkerConfig(environmentOf(workload('agentrun-worker'), overlay));
    expect(worker.runners).toMatchObject({
      launcher: 'kubernetes',
      cluster: {
        namespace: 'agentrun-v01',
        serviceAccount: 'agentrun-v01-runner',
        providerSecret: 'agentrun-provider',
        podFile: '/settings/runner-pod.yaml',
        kubeconfig: undefined,
      },
    });
    expect(worker.manager).toEqual({
      url: 'http://agentrun-mgr.agentrun.svc:8080',
      variable: 'AGENTRUN_INTERNAL_MGR_URL',
    });
    expect(readMigrateConfig(environmentOf(workload('agentrun-migrate'), overlay)).logLevel).toBe('info');
  });

  it('are all known, so that none is mistyped', () => {
    for (const each of deployed) expect(startWarnings(environmentOf(each, production))).toEqual([]);
  });

  it.each(['base', 'overlays/e2e'])('%s says of the pods of runners what the worker takes', (place) => {
    expect(readPodOptions(join(deployFolder, place, 'runner-pod.yaml'))('codex').resources).toBeDefined();
  });

  it('hold no secret', () => {
    const names = Object.keys({ ...envFile('base/settings.env'), ...production });
    expect(names.filter((name) => /KEY|TOKEN|PASSWORD|DATABASE_URL/.test(name))).toEqual([]);
  });
});

describe('a rollout', () => {
  const graceSchema = z.looseObject({
    spec: z.looseObject({
      template: z.looseObject({ spec: z.looseObject({ terminationGracePeriodSeconds: z.number() }) }),
    }),
  });
  const graceMs = (name: string) =>
    graceSchema.parse(workload(name)).spec.template.spec.terminationGracePeriodSeconds * 1_000;

  it('leaves the API the time that it takes to stop', () => {
    const { shutdownDelayMs } = readApiConfig(environmentOf(workload('agentrun-api')));
    // api/main.ts: streams and answers 5 s, metrics 0.5 s, four closes of 3 s at most.
    expect(graceMs('agentrun-api')).toBeGreaterThan(shutdownDelayMs + 17_500);
  });

  it('leaves the worker the time that it takes to stop', () => {
    // worker/workers.ts: 8 s until it ends although something hangs.
    expect(graceMs('agentrun-worker')).toBeGreaterThan(16_000);
  });

  it.each(['agentrun-api', 'agentrun-worker'])('%s waits for its schema before it starts', (name) => {
    const [wait] = workload(name).spec.template.spec.initContainers;
    expect(wait).toMatchObject({
      name: 'wait-for-schema',
      args: ['node', '/app/dist/store/migrate-main.js', '--wait'],
    });
  });
});

test('budgets, policies and the Service select what they are meant for', () => {
  const selected = z.looseObject({
    spec: z.looseObject({ selector: z.looseObject({ matchLabels: z.record(z.string(), z.string()) }) }),
  });
  const budgets = all
    .filter(({ kind }) => kind === 'PodDisruptionBudget')
    .map((budget) => [budget.metadata.name, selected.parse(budget).spec.selector.matchLabels]);
  expect(budgets).toEqual([
    ['agentrun-api', { 'app.kubernetes.io/component': 'api' }],
    ['agentrun-worker', { 'app.kubernetes.io/component': 'worker' }],
    ['agentrun-runners', { 'app.kubernetes.io/component': components.runner }],
  ]);
  expect(workload('agentrun-api').spec.template.metadata.labels['app.kubernetes.io/component']).toBe('api');
  expect(workload('agentrun-worker').spec.template.metadata.labels['app.kubernetes.io/component']).toBe(
    'worker',
  );
});

test('the policy for the agent names its container and its folder as the Job does', () => {
  const policy = readFileSync(join(deployFolder, 'base', 'admission-policy.yaml'), 'utf8');
  expect(policy).toContain(`c.name == '${podLayout.containers.agentHost}'`);
  expect(policy).toContain(`m.subPath == '${podLayout.volumeFolders.agent}'`);
});
