import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defaultPodOptions } from '../../../domain/kubernetes/pod-options.js';
import { ConfigurationError } from '../../../infra/config/read-env.js';
import { parsePodOptions, readPodOptions } from '../../../infra/kubernetes/pod-options.js';

const parse = (text: string) => parsePodOptions(text, 'pod.yaml')('codex');

/** What a wrong file is answered with. */
function problemsOf(text: string): string[] {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof ConfigurationError)
      return error.problems.map(({ variable, expected }) => `${variable}: ${expected}`);
    throw error;
  }
  return [];
}

describe('the options of pods', () => {
  it('are the defaults without a file, and with an empty mapping', () => {
    expect(readPodOptions(undefined)('codex')).toEqual(defaultPodOptions);
    expect(parse('{}')).toEqual(defaultPodOptions);
  });

  it('are read from a file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pod-options-'));
    try {
      const file = join(folder, 'pod.yaml');
      writeFileSync(file, 'priorityClassName: agents\n');
      expect(readPodOptions(file)('codex').priorityClassName).toBe('agents');
      expect(() => readPodOptions(join(folder, 'none.yaml'))).toThrow(
        /AGENTRUN_RUNNER_POD_FILE: .*none\.yaml: cannot be read \(ENOENT\)/,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('take over everything that a file says', () => {
    const options = parse(`
resources:
  agentHost:
    requests: { cpu: 2, memory: 8Gi }
    limits: { cpu: 4000m, memory: 8Gi, ephemeral-storage: 1.5e10 }
nodeSelector: { example.com/pool: agents }
tolerations:
  - { key: agents, value: "yes", effect: NoExecute, tolerationSeconds: 30 }
  - { key: spot, operator: Exists }
topologySpread:
  - { maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway }
priorityClassName: agents
runtimeClassName: gvisor
imagePullSecrets: [registry.example]
kueueQueue: agents
labels: { team: a }
annotations: { example.com/note: "anything at all" }
terminationGraceSeconds: 90
nodeLossSeconds: 0
`);
    expect(options).toEqual({
      resources: {
        ...defaultPodOptions.resources,
        agentHost: {
          requests: { cpu: '2', memory: '8Gi', 'ephemeral-storage': '1Gi' },
          limits: { cpu: '4000m', memory: '8Gi', 'ephemeral-storage': '15000000000' },
        },
      },
      nodeSelector: { 'example.com/pool': 'agents' },
      tolerations: [
        { key: 'agents', operator: 'Equal', value: 'yes', effect: 'NoExecute', tolerationSeconds: 30 },
        { key: 'spot', operator: 'Exists' },
      ],
      topologySpread: [
        { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway' },
      ],
      priorityClassName: 'agents',
      runtimeClassName: 'gvisor',
      imagePullSecrets: ['registry.example'],
      kueueQueue: 'agents',
      labels: { team: 'a' },
      annotations: { 'example.com/note': 'anything at all' },
      terminationGraceSeconds: 90,
      nodeLossSeconds: 0,
    });
  });

  it('may be others for one profile, on top of those for all', () => {
    const optionsOf = parsePodOptions(
      `
runtimeClassName: runc
resources: { agentHost: { limits: { memory: 4Gi } } }
profiles:
  untrusted:
    runtimeClassName: gvisor
    resources: { agentHost: { limits: { cpu: 1 } } }
`,
      'pod.yaml',
    );
    expect(optionsOf('codex').runtimeClassName).toBe('runc');
    const untrusted = optionsOf('untrusted');
    expect(untrusted.runtimeClassName).toBe('gvisor');
    expect(untrusted.resources.agentHost.limits).toEqual({
      cpu: '1',
      memory: '4Gi',
      'ephemeral-storage': '10Gi',
    });
  });

  it.each([
    ['a key that is misspelt', 'nodeselector: {}', 'nodeselector'],
    ['a key twice', 'labels: {}\nlabels: {}', 'duplicated mapping key'],
    ['no YAML', 'labels: [', 'is no YAML mapping'],
    ['nothing', '', '{} takes all defaults'],
    ['a list', '- labels', 'expected object'],
    ['an unknown container', 'resources: { sidecar: {} }', 'resources: '],
    [
      'no amount of cores',
      'resources: { agentHost: { limits: { cpu: 1Gi } } }',
      'resources.agentHost.limits.cpu: expected an amount of cores',
    ],
    [
      'no amount of bytes',
      'resources: { agentHost: { limits: { memory: 8 GB } } }',
      'resources.agentHost.limits.memory: expected an amount of bytes',
    ],
    [
      'thousandths of a byte',
      'resources: { prepare: { limits: { memory: 128m } } }',
      'resources.prepare.limits.memory: expected',
    ],
    [
      'an amount of zero',
      'resources: { supervisor: { requests: { memory: 0 } } }',
      'resources.supervisor.requests.memory: expected',
    ],
    [
      'a request above its limit',
      'resources: { agentHost: { requests: { memory: 9Gi } } }',
      'pod.yaml: resources.agentHost.requests.memory: 9Gi is requested, above the limit of 8Gi',
    ],
    [
      'a request of a profile above the limit of all',
      'profiles: { big: { resources: { prepare: { requests: { cpu: 1001m } } } } }',
      'profiles.big.resources.prepare.requests.cpu: 1001m is requested, above the limit of 1',
    ],
    ['a profile of profiles', 'profiles: { a: { profiles: {} } }', 'profiles.a'],
    ['a label of ours', 'labels: { agentrun.dev/run: x }', 'labels.agentrun.dev/run'],
    ['the label that says whose it is', 'labels: { app.kubernetes.io/managed-by: me }', 'labels'],
    ['a queue past its own option', 'labels: { kueue.x-k8s.io/queue-name: q }', 'labels'],
    [
      'an annotation that takes a profile off',
      'annotations: { container.apparmor.security.beta.kubernetes.io/agent-host: unconfined }',
      'annotations',
    ],
    ['a label value with a blank', 'labels: { team: "a b" }', 'a b is no value of a label'],
    ['a class with capitals', 'runtimeClassName: GVisor', 'runtimeClassName: GVisor is no name'],
    ['an empty queue', 'kueueQueue: ""', 'kueueQueue'],
    ['a toleration for everything', 'tolerations: [{ operator: Exists }]', 'tolerations.0.key'],
    [
      'a value beside Exists',
      'tolerations: [{ key: a, operator: Exists, value: b }]',
      'Exists takes no value',
    ],
    [
      'a time without its effect',
      'tolerations: [{ key: a, tolerationSeconds: 3 }]',
      'goes with the effect NoExecute',
    ],
    [
      'a lost node past its own option',
      'tolerations: [{ key: node.kubernetes.io/unreachable, operator: Exists }]',
      'nodeLossSeconds says how long',
    ],
    ['a grace that no runner could use', 'terminationGraceSeconds: 5', 'terminationGraceSeconds'],
  ])('refuse %s and say where', (_, text, problem) => {
    const problems = problemsOf(text);
    expect(problems.join('\n')).toContain(problem);
    for (const one of problems) expect(one).toMatch(/^AGENTRUN_RUNNER_POD_FILE: pod\.yaml: /);
  });
});
