import { describe, expect, it } from 'vitest';
import { jobManifest } from '../../../domain/kubernetes/job-manifest.js';
import { changed } from '../../support/changed.js';
import { jobInput } from '../../support/job-input.js';
import {
  admissionRules,
  furtherRules,
  type PolicyOptions,
  type PolicyRule,
  policyFindings,
} from '../../support/pod-policy.js';

type Path = readonly (string | number)[];
type Change = readonly [path: Path, value: unknown];

const pod: Path = ['spec', 'template', 'spec'];
const prepare: Path = [...pod, 'initContainers', 0];
const agentHost: Path = [...pod, 'initContainers', 1];
const supervisor: Path = [...pod, 'containers', 0];
const security = (container: Path, field: string): Path => [...container, 'securityContext', field];
const addedVolume = (kind: object): Change => [[...pod, 'volumes', 11], { name: 'one-more', ...kind }];
const addedVariable = (variable: object): Change => [[...supervisor, 'env', 5], variable];

/** Every rule, broken in every way that it is meant for. */
const breaks: Record<PolicyRule, Readonly<Record<string, Change>>> = {
  'runtime-class': { 'another one': [[...pod, 'runtimeClassName'], 'runc'] },
  'host-network': { on: [[...pod, 'hostNetwork'], true] },
  'service-account-token': {
    on: [[...pod, 'automountServiceAccountToken'], true],
    'left out': [[...pod, 'automountServiceAccountToken'], undefined],
  },
  privileged: { on: [security(agentHost, 'privileged'), true] },
  'drop-all': {
    'drops less': [security(prepare, 'capabilities'), { drop: ['NET_RAW'] }],
    'left out': [security(agentHost, 'capabilities'), undefined],
  },
  limits: {
    'no memory': [[...agentHost, 'resources', 'limits', 'memory'], undefined],
    'no disk': [[...prepare, 'resources', 'limits', 'ephemeral-storage'], undefined],
    'no amount': [[...supervisor, 'resources', 'limits', 'cpu'], 'much'],
  },
  'non-root': {
    off: [security(supervisor, 'runAsNonRoot'), false],
    'user 0': [security(prepare, 'runAsUser'), 0],
    'a group of root': [[...pod, 'securityContext', 'supplementalGroups'], [0]],
  },
  'projected-token': {
    mounted: addedVolume({ projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }),
  },
  'host-path': { mounted: addedVolume({ hostPath: { path: '/' } }) },
  'added-capability': {
    'one more': [security(agentHost, 'capabilities'), { drop: ['ALL'], add: ['SYS_ADMIN'] }],
  },
  'host-process-or-ipc': { processes: [[...pod, 'hostPID'], true], ipc: [[...pod, 'hostIPC'], true] },
  'host-port': { open: [[...supervisor, 'ports', 0, 'hostPort'], 8_181] },
  sysctls: {
    set: [[...pod, 'securityContext', 'sysctls'], [{ name: 'kernel.shm_rmid_forced', value: '1' }]],
  },
  'proc-mount': { unmasked: [security(agentHost, 'procMount'), 'Unmasked'] },
  'privilege-escalation': {
    on: [security(agentHost, 'allowPrivilegeEscalation'), true],
    'left out': [security(agentHost, 'allowPrivilegeEscalation'), undefined],
  },
  seccomp: { off: [security(agentHost, 'seccompProfile'), { type: 'Unconfined' }] },
  'app-armor': { off: [security(agentHost, 'appArmorProfile'), { type: 'Unconfined' }] },
  'read-only-root': { 'left out': [security(prepare, 'readOnlyRootFilesystem'), undefined] },
  'bounded-scratch': { 'no size': addedVolume({ emptyDir: {} }) },
  'volume-kind': {
    'of the network': addedVolume({ nfs: { server: 'example', path: '/' } }),
    none: addedVolume({}),
  },
  'service-links': { 'left out': [[...pod, 'enableServiceLinks'], undefined] },
  'shared-processes': { on: [[...pod, 'shareProcessNamespace'], true] },
  requests: {
    none: [[...supervisor, 'resources', 'requests', 'memory'], undefined],
    'above the limit': [[...agentHost, 'resources', 'requests', 'memory'], '8193Mi'],
  },
  probes: {
    'no liveness of the sidecar': [[...agentHost, 'livenessProbe'], undefined],
    'no readiness': [[...supervisor, 'readinessProbe'], undefined],
    'one question for both': [[...supervisor, 'livenessProbe', 'httpGet', 'path'], '/readyz'],
    'another port': [[...supervisor, 'readinessProbe', 'httpGet', 'port'], 1],
    'longer than its period': [[...supervisor, 'readinessProbe', 'timeoutSeconds'], 6],
  },
  'probe-host': {
    elsewhere: [[...supervisor, 'startupProbe', 'httpGet', 'host'], '169.254.169.254'],
    'a hook': [[...supervisor, 'lifecycle'], { postStart: { exec: { command: ['true'] } } }],
  },
  'pinned-image': {
    latest: [[...supervisor, 'image'], 'agentrun-runner:latest'],
    'no tag behind a port': [[...prepare, 'image'], 'registry.example:5000/agentrun-runner'],
  },
  'secret-in-environment': {
    'by name': addedVariable({ name: 'OPENAI_API_KEY', value: 'x' }),
    'by reference': addedVariable({ name: 'X', valueFrom: { secretKeyRef: { name: 'a', key: 'b' } } }),
    'all of one': [[...agentHost, 'envFrom'], [{ secretRef: { name: 'a' } }]],
    'in a URL': addedVariable({ name: 'X', value: 'postgres://me:hidden@db/x' }),
    'in an argument': [[...supervisor, 'args', 2], '--header=sk-abcdef'],
  },
  'job-bounds': {
    'no deadline': [['spec', 'activeDeadlineSeconds'], undefined],
    'a second pod': [['spec', 'backoffLimit'], 1],
    'a pod beside one that ends': [['spec', 'podReplacementPolicy'], 'TerminatingOrFailed'],
    'restarts in place': [[...pod, 'restartPolicy'], 'OnFailure'],
  },
};

const gvisor: PolicyOptions = { runtimeClasses: ['gvisor'] };
const manifest = jobManifest(jobInput({ pod: { ...jobInput().pod, runtimeClassName: 'gvisor' } }));

describe('the policy of pods', () => {
  it('has nothing against a runner', () => {
    expect(policyFindings(manifest, gvisor)).toEqual([]);
  });

  const cases = [...admissionRules, ...furtherRules].flatMap((rule) =>
    Object.entries(breaks[rule]).map(([how, change]) => ({ rule, how, change })),
  );
  it.each(cases)('finds $rule: $how', ({ rule, change: [path, value] }) => {
    const found = policyFindings(changed(manifest, path, value), gvisor);
    expect(found.map((one) => one.rule)).toEqual([rule]);
  });

  it('names manifest and container', () => {
    const [path, value] = breaks.seccomp.off ?? [[], undefined];
    expect(policyFindings(changed(manifest, path, value))).toEqual([
      { rule: 'seccomp', at: `Job ${manifest.metadata.name}, container agent-host` },
    ]);
  });

  it('leaves out what a manifest is excused from, and nothing else', () => {
    const open = changed(changed(manifest, [...pod, 'hostNetwork'], true), [...pod, 'hostPID'], true);
    const found = policyFindings(open, { excused: ['host-network'] });
    expect(found.map(({ rule }) => rule)).toEqual(['host-process-or-ipc']);
  });

  it.each(['Deployment', 'StatefulSet', 'DaemonSet'])(
    'asks for probes in a %s, whatever its labels',
    (kind) => {
      const workload = {
        kind,
        metadata: { name: 'api' },
        spec: { template: { spec: manifest.spec.template.spec } },
      };
      expect(policyFindings(workload)).toEqual([]);
      const blind = changed(workload, [...supervisor, 'livenessProbe'], undefined);
      expect(policyFindings(blind)).toEqual([{ rule: 'probes', at: `${kind} api, container supervisor` }]);
    },
  );

  it('asks for none in a Job that is no runner, nor for a single pod', () => {
    const migration = changed(
      changed(changed(manifest, ['spec', 'template', 'metadata', 'labels'], {}), ['spec', 'backoffLimit'], 3),
      [...supervisor, 'livenessProbe'],
      undefined,
    );
    expect(policyFindings(migration)).toEqual([]);
  });

  it('looks into a CronJob and a bare Pod', () => {
    const open = { ...manifest.spec.template.spec, hostNetwork: true };
    const carriers = [
      { kind: 'Pod', metadata: { name: 'x' }, spec: open },
      {
        kind: 'CronJob',
        metadata: { name: 'x' },
        spec: { jobTemplate: { spec: { ...manifest.spec, template: { spec: open } } } },
      },
    ];
    for (const carrier of carriers)
      expect(policyFindings(carrier).map(({ rule }) => rule)).toEqual(['host-network']);
  });

  it('finds a service account that hands its token to every pod', () => {
    const account = { kind: 'ServiceAccount', metadata: { name: 'runner' } };
    expect(policyFindings(account)).toEqual([{ rule: 'service-account-token', at: 'ServiceAccount runner' }]);
    expect(policyFindings({ ...account, automountServiceAccountToken: false })).toEqual([]);
  });

  it('does not pass what it cannot read', () => {
    expect(() => policyFindings({ kind: 'Deployment', metadata: { name: 'x' }, spec: {} })).toThrow(
      /template/,
    );
    expect(() => policyFindings('kind: Pod')).toThrow(/object/);
    expect(policyFindings({ kind: 'Service', metadata: { name: 'x' } })).toEqual([]);
  });
});
