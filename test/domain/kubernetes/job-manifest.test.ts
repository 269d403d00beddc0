import type { V1Job } from '@kubernetes/client-node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type JobInput, jobInputProblems, jobManifest } from '../../../domain/kubernetes/job-manifest.js';
import type { JobManifest } from '../../../domain/kubernetes/manifest-types.js';
import { defaultPodOptions, type PodOptions } from '../../../domain/kubernetes/pod-options.js';
import { jobInput } from '../../support/job-input.js';
import { policyFindings } from '../../support/pod-policy.js';

const podOf = (manifest: JobManifest) => manifest.spec.template.spec;
const containersOf = (manifest: JobManifest) => {
  const { initContainers, containers } = podOf(manifest);
  return [...initContainers, ...containers];
};
const withPod = (over: Partial<PodOptions>): JobInput => jobInput({ pod: { ...defaultPodOptions, ...over } });

const word = fc.stringMatching(/^[a-z]{1,12}$/);
const anyInput: fc.Arbitrary<JobInput> = fc
  .record({
    healthPort: fc.integer({ min: 1, max: 65_535 }),
    epoch: fc.integer({ min: 1, max: 1_000 }),
    lifeMs: fc.integer({ min: 1, max: 2_000_000_000 }),
    origin: fc.record({
      lane: fc.option(word, { nil: undefined }),
      environment: fc.option(fc.string(), { nil: undefined }),
      sourceCommit: fc.option(word, { nil: undefined }),
    }),
    pod: fc.record({
      nodeSelector: fc.dictionary(word, word),
      tolerations: fc.array(fc.record({ key: word, operator: fc.constant('Exists' as const) })),
      topologySpread: fc.array(
        fc.record({
          maxSkew: fc.constant(1),
          topologyKey: word,
          whenUnsatisfiable: fc.constant('ScheduleAnyway' as const),
        }),
      ),
      priorityClassName: fc.option(word, { nil: undefined }),
      runtimeClassName: fc.option(word, { nil: undefined }),
      imagePullSecrets: fc.array(word),
      kueueQueue: fc.option(word, { nil: undefined }),
      labels: fc.dictionary(fc.constantFrom('team', 'app.kubernetes.io/component', 'agentrun.dev/run'), word),
      annotations: fc.dictionary(fc.constantFrom('note', 'agentrun.dev/tenant'), word),
      terminationGraceSeconds: fc.integer({ min: 20, max: 3_600 }),
      nodeLossSeconds: fc.integer({ min: 0, max: 86_400 }),
    }),
  })
  .map(({ pod, ...over }) => jobInput({ ...over, pod: { ...defaultPodOptions, ...pod } }));

describe('jobManifest', () => {
  it('is what the client sends, with nothing left undefined', () => {
    const manifest = jobManifest(jobInput());
    const body: V1Job = manifest;
    expect(JSON.parse(JSON.stringify(body))).toStrictEqual(manifest);
  });

  it('keeps to the policy of pods, whatever is chosen', () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const manifest = jobManifest(input);
        expect(policyFindings(manifest)).toEqual([]);
        expect(JSON.parse(JSON.stringify(manifest))).toEqual(manifest);
      }),
    );
  });

  it('makes one pod and no second one, and lives no longer than its runner may', () => {
    const { template: _, ...spec } = jobManifest(jobInput({ lifeMs: 86_399_001 })).spec;
    expect(spec).toEqual({
      completions: 1,
      parallelism: 1,
      backoffLimit: 0,
      activeDeadlineSeconds: 86_400,
      podReplacementPolicy: 'Failed',
      podFailurePolicy: {
        rules: [
          { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          { action: 'FailJob', onExitCodes: { containerName: 'prepare', operator: 'In', values: [2] } },
          { action: 'FailJob', onExitCodes: { containerName: 'supervisor', operator: 'In', values: [2] } },
        ],
      },
      suspend: false,
    });
    expect(podOf(jobManifest(jobInput())).restartPolicy).toBe('Never');
  });

  it('names its containers in the order in which they begin; the sidecar keeps no Job alive', () => {
    const manifest = jobManifest(jobInput());
    expect(containersOf(manifest).map(({ name, args }) => [name, ...args])).toEqual([
      ['prepare', 'node', '/app/dist/runner/prepare/main.js'],
      ['agent-host', 'node', '/app/dist/runner/agent-host/main.js'],
      ['supervisor', 'node', '/app/dist/runner/supervisor/main.js'],
    ]);
    const [prepare, agentHost] = podOf(manifest).initContainers;
    expect(agentHost.restartPolicy).toBe('Always');
    expect(prepare).not.toHaveProperty('restartPolicy');
  });

  it('shows each container only what it reads', () => {
    const mounts = Object.fromEntries(
      containersOf(jobManifest(jobInput())).map(({ name, volumeMounts }) => [
        name,
        volumeMounts.map((mount) =>
          [mount.mountPath, mount.name, mount.subPath ?? '', mount.readOnly ? 'ro' : 'rw'].join(' '),
        ),
      ]),
    );
    expect(mounts).toEqual({
      prepare: [
        '/tmp prepare-tmp  rw',
        '/home/agentrun prepare-home  rw',
        '/session/agent session agent rw',
        '/prepare prepare  ro',
      ],
      'agent-host': [
        '/tmp agent-host-tmp  rw',
        '/home/agentrun agent-host-home  rw',
        '/session/agent session agent rw',
        '/run/agentrun socket  rw',
      ],
      supervisor: [
        '/tmp supervisor-tmp  rw',
        '/home/agentrun supervisor-home  rw',
        '/session/agent session agent rw',
        '/session/supervisor session supervisor rw',
        '/run/agentrun socket  rw',
        '/launch launch  ro',
        '/provider provider  ro',
      ],
    });
  });

  it('takes secrets from Secrets by file, one key each, and tells nothing secret by environment or argument', () => {
    const manifest = jobManifest(jobInput({ name: 'agentrun-x-1', providerSecret: 'the-key' }));
    const secrets = podOf(manifest).volumes.filter((volume) => 'secret' in volume);
    expect(secrets.map((volume) => volume.secret)).toEqual([
      {
        secretName: 'agentrun-x-1',
        defaultMode: 0o440,
        items: [{ key: 'launch.json', path: 'launch.json' }],
      },
      {
        secretName: 'agentrun-x-1',
        defaultMode: 0o440,
        items: [{ key: 'prepare.json', path: 'prepare.json' }],
      },
      { secretName: 'the-key', defaultMode: 0o440, items: [{ key: 'key', path: 'key' }] },
    ]);
    const told = containersOf(manifest).map(({ name, env }) => [
      name,
      env.map((one) => `${one.name}=${one.value}`),
    ]);
    expect(told).toEqual([
      [
        'prepare',
        [
          'AGENTRUN_PREPARE_FILE=/prepare/prepare.json',
          'AGENTRUN_EXIT_REASON_FILE=/dev/termination-log',
          'AGENTRUN_LOG_LEVEL=info',
          'HOME=/home/agentrun',
        ],
      ],
      [
        'agent-host',
        ['AGENTRUN_AGENT_HOST_SOCKET=/run/agentrun/agent-host.sock', 'HOME=/home/agentrun', 'TMPDIR=/tmp'],
      ],
      [
        'supervisor',
        [
          'AGENTRUN_LAUNCH_FILE=/launch/launch.json',
          'AGENTRUN_EXIT_REASON_FILE=/dev/termination-log',
          'AGENTRUN_HEALTH_PORT=8181',
          'AGENTRUN_LOG_LEVEL=info',
          'HOME=/home/agentrun',
        ],
      ],
    ]);
  });

  it('asks the supervisor as requirements.md A.2.a says, on the port that it is told', () => {
    const [supervisor] = podOf(jobManifest(jobInput({ healthPort: 9_999 }))).containers;
    const times = (path: string, [initial, period, timeout, failures]: readonly number[]) => ({
      httpGet: { path, port: 9_999 },
      initialDelaySeconds: initial,
      periodSeconds: period,
      timeoutSeconds: timeout,
      failureThreshold: failures,
    });
    expect(supervisor.readinessProbe).toEqual(times('/readyz', [3, 5, 2, 3]));
    expect(supervisor.livenessProbe).toEqual(times('/healthz', [20, 30, 5, 3]));
    expect(supervisor.startupProbe).toEqual(times('/healthz', [1, 5, 5, 30]));
    expect(supervisor.ports).toEqual([{ name: 'health', containerPort: 9_999, protocol: 'TCP' }]);
    expect(supervisor.env).toContainEqual({ name: 'AGENTRUN_HEALTH_PORT', value: '9999' });
  });

  it('looks for the socket of agent-host, by a program of the image', () => {
    const [, agentHost] = podOf(jobManifest(jobInput())).initContainers;
    for (const probe of [agentHost.readinessProbe, agentHost.livenessProbe])
      expect(probe.exec.command).toEqual(['test', '-S', '/run/agentrun/agent-host.sock']);
  });

  it('mounts every volume, and nothing that is no volume', () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const manifest = jobManifest(input);
        const mounted = containersOf(manifest).flatMap(({ volumeMounts }) =>
          volumeMounts.map(({ name }) => name),
        );
        const names = podOf(manifest).volumes.map(({ name }) => name);
        expect(new Set(mounted)).toEqual(new Set(names));
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });

  it('lets nobody take its labels: what is deleted and fenced is found by them', () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { metadata, spec } = jobManifest(input);
        for (const { labels, annotations } of [metadata, spec.template.metadata]) {
          expect(labels).toMatchObject({
            'app.kubernetes.io/managed-by': 'agentrun',
            'app.kubernetes.io/component': 'runner',
            'agentrun.dev/run': input.runId,
            'agentrun.dev/epoch': String(input.epoch),
            'agentrun.dev/volume': input.volumeClaim,
          });
          expect(annotations).toMatchObject({
            'agentrun.dev/session': 'My.Session_1',
            'agentrun.dev/tenant': 'tenant-a',
          });
        }
      }),
    );
  });

  it('tells autoscalers to leave the pod where it is', () => {
    expect(jobManifest(jobInput()).spec.template.metadata.annotations).toMatchObject({
      'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
      'karpenter.sh/do-not-disrupt': 'true',
    });
  });

  it('takes over what an operator chose', () => {
    const manifest = jobManifest({
      ...withPod({
        nodeSelector: { pool: 'agents' },
        tolerations: [{ key: 'agents', operator: 'Equal', value: 'yes', effect: 'NoSchedule' }],
        topologySpread: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
        priorityClassName: 'agents',
        runtimeClassName: 'gvisor',
        imagePullSecrets: ['registry'],
        labels: { team: 'a' },
        annotations: { note: 'b' },
        terminationGraceSeconds: 90,
        nodeLossSeconds: 30,
      }),
      origin: { lane: 'v0.1', environment: 'production, blue', sourceCommit: 'abc123' },
    });
    const pod = podOf(manifest);
    expect(pod).toMatchObject({
      nodeSelector: { pool: 'agents' },
      priorityClassName: 'agents',
      runtimeClassName: 'gvisor',
      imagePullSecrets: [{ name: 'registry' }],
      terminationGracePeriodSeconds: 90,
    });
    const loss = { operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 30 };
    expect(pod.tolerations).toEqual([
      { key: 'agents', operator: 'Equal', value: 'yes', effect: 'NoSchedule' },
      { key: 'node.kubernetes.io/not-ready', ...loss },
      { key: 'node.kubernetes.io/unreachable', ...loss },
    ]);
    const labelSelector = { matchLabels: { 'app.kubernetes.io/component': 'runner' } };
    expect(pod.topologySpreadConstraints).toEqual([
      { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule', labelSelector },
    ]);
    expect(manifest.metadata.labels).toMatchObject({
      team: 'a',
      'agentrun.dev/lane': 'v0.1',
      'agentrun.dev/source-commit': 'abc123',
    });
    expect(manifest.metadata.annotations).toMatchObject({
      note: 'b',
      'agentrun.dev/environment': 'production, blue',
    });
  });

  it('leaves out classes that nobody chose, so that the cluster takes its own', () => {
    const pod = podOf(jobManifest(jobInput()));
    expect(pod).not.toHaveProperty('priorityClassName');
    expect(pod).not.toHaveProperty('runtimeClassName');
  });

  it('waits for Kueue when it has a queue', () => {
    const { metadata, spec } = jobManifest(withPod({ kueueQueue: 'agents' }));
    expect(metadata.labels).toMatchObject({ 'kueue.x-k8s.io/queue-name': 'agents' });
    expect(spec.template.metadata.labels).not.toHaveProperty('kueue.x-k8s.io/queue-name');
    expect(spec.suspend).toBe(true);
  });
});

describe('jobInputProblems', () => {
  it('has nothing against names that Kubernetes takes', () => {
    expect(jobInputProblems(jobInput({ name: 'a'.repeat(63), volumeClaim: 'a.b-c' }))).toEqual([]);
  });

  it.each([
    ['a long name', { name: 'a'.repeat(64) }, 'has 64 characters, a Job may have 63'],
    ['a name of capitals', { name: 'Agentrun-1' }, 'Agentrun-1 is no name of a Job'],
    [
      'a name with a dot, which a host name of a pod may not have',
      { name: 'a.b' },
      'a.b is no name of a Job',
    ],
    ['a name that ends in a dash', { name: 'a-' }, 'a- is no name of a Job'],
    ['no name', { name: '' }, 'is no name of a Job'],
    ['a claim that is a path', { volumeClaim: '../x' }, '../x is no name'],
    ['a claim that is too long for its label', { volumeClaim: 'c'.repeat(64) }, 'is no value of a label'],
    ['a secret of capitals', { providerSecret: 'KEY' }, 'KEY is no name'],
    ['an account with a blank', { serviceAccount: 'a b' }, 'a b is no name'],
    ['a run id with a slash', { runId: 'run/1' }, 'run/1 is no value of a label'],
    [
      'a lane with a blank',
      { origin: { lane: 'v 1', environment: undefined, sourceCommit: undefined } },
      'v 1 is no value of a label',
    ],
  ])('finds %s', (_, over, problem) => {
    const problems = jobInputProblems(jobInput(over));
    expect(problems.join('\n')).toContain(problem);
  });
});
