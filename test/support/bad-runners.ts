import { changed } from './changed.js';

/** A Job of a runner that breaks one rule of the admission policy. */
export interface BadRunner {
  /** The rule's number in deploy/kubernetes/base/admission-policy.yaml. */
  readonly rule: number;
  readonly how: string;
  readonly job: unknown;
}

type Path = readonly (string | number)[];

const pod: Path = ['spec', 'template', 'spec'];
/** Every rule about containers is broken in each of these: a rule that looks at `containers` only would let the agent's through. */
const containers: readonly { readonly name: string; readonly path: Path }[] = [
  { name: 'prepare', path: [...pod, 'initContainers', 0] },
  { name: 'agent-host', path: [...pod, 'initContainers', 1] },
  { name: 'supervisor', path: [...pod, 'containers', 0] },
];

type Break = readonly [place: Path, value: unknown];

const ofPod: readonly { readonly rule: number; readonly how: string; readonly breaks: readonly Break[] }[] = [
  { rule: 1, how: 'another runtime class', breaks: [[['runtimeClassName'], 'unconfined']] },
  { rule: 2, how: 'the network of the node', breaks: [[['hostNetwork'], true]] },
  { rule: 3, how: 'a token', breaks: [[['automountServiceAccountToken'], true]] },
  { rule: 3, how: 'no word about a token', breaks: [[['automountServiceAccountToken'], undefined]] },
  { rule: 7, how: 'root allowed', breaks: [[['securityContext', 'runAsNonRoot'], undefined]] },
  {
    rule: 8,
    how: 'a projected token',
    breaks: [
      [
        ['volumes', 0],
        { name: 'session', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } },
      ],
    ],
  },
  {
    rule: 9,
    how: 'a folder of the node',
    breaks: [[['volumes', 0], { name: 'session', hostPath: { path: '/' } }]],
  },
  { rule: 11, how: 'processes of the node', breaks: [[['hostPID'], true]] },
  { rule: 11, how: 'shared memory of the node', breaks: [[['hostIPC'], true]] },
  {
    rule: 13,
    how: 'a sysctl',
    breaks: [[['securityContext', 'sysctls'], [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }]]],
  },
  { rule: 16, how: 'one process namespace', breaks: [[['shareProcessNamespace'], true]] },
];

const ofContainer: readonly {
  readonly rule: number;
  readonly how: string;
  readonly breaks: readonly Break[];
  /** Beside the container, what the API server wants with it. */
  readonly podBreaks?: readonly Break[];
}[] = [
  {
    rule: 4,
    how: 'privileged',
    breaks: [
      [['securityContext', 'privileged'], true],
      [['securityContext', 'allowPrivilegeEscalation'], undefined],
    ],
  },
  {
    rule: 5,
    how: 'keeps capabilities',
    breaks: [[['securityContext', 'capabilities', 'drop'], ['NET_RAW']]],
  },
  { rule: 6, how: 'without a limit of memory', breaks: [[['resources', 'limits', 'memory'], undefined]] },
  { rule: 7, how: 'is root', breaks: [[['securityContext', 'runAsUser'], 0]] },
  { rule: 7, how: 'may be root', breaks: [[['securityContext', 'runAsNonRoot'], false]] },
  {
    rule: 10,
    how: 'adds a capability',
    breaks: [[['securityContext', 'capabilities', 'add'], ['NET_ADMIN']]],
  },
  { rule: 12, how: 'a port of the node', breaks: [[['ports'], [{ containerPort: 8_181, hostPort: 8_181 }]]] },
  {
    rule: 14,
    how: 'all of /proc',
    breaks: [[['securityContext', 'procMount'], 'Unmasked']],
    podBreaks: [[['hostUsers'], false]],
  },
  {
    rule: 18,
    how: 'a Secret in a variable',
    breaks: [
      [['env'], [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'agentrun-provider', key: 'key' } } }]],
    ],
  },
  {
    rule: 18,
    how: 'a whole Secret',
    breaks: [[['envFrom'], [{ secretRef: { name: 'agentrun-provider' } }]]],
  },
  { rule: 15, how: 'writes to its root', breaks: [[['securityContext', 'readOnlyRootFilesystem'], false]] },
  { rule: 15, how: 'may gain privileges', breaks: [[['securityContext', 'allowPrivilegeEscalation'], true]] },
];

const agentMounts: Path = [...pod, 'initContainers', 1, 'volumeMounts'];

/** `job`, which breaks none, in all the ways that the policy knows. */
export function badRunners(job: unknown): BadRunner[] {
  return [
    ...ofPod.map(({ rule, how, breaks }) => ({ rule, how, job: broken(job, pod, breaks) })),
    ...ofContainer.flatMap(({ rule, how, breaks, podBreaks = [] }) =>
      containers.map(({ name, path }) => ({
        rule,
        how: `${name}: ${how}`,
        job: broken(broken(job, path, breaks), pod, podBreaks),
      })),
    ),
    {
      rule: 17,
      how: 'the agent sees the key of the provider',
      job: changed(job, agentMounts, [{ name: 'provider', mountPath: '/provider' }]),
    },
    {
      rule: 17,
      how: "the agent sees the supervisor's part of the volume",
      job: changed(job, agentMounts, [{ name: 'session', mountPath: '/session', subPath: 'supervisor' }]),
    },
    {
      rule: 17,
      how: 'the agent sees the whole volume',
      job: changed(job, agentMounts, [{ name: 'session', mountPath: '/session' }]),
    },
  ];
}

const broken = (job: unknown, place: Path, breaks: readonly Break[]): unknown =>
  breaks.reduce<unknown>((document, [path, value]) => changed(document, [...place, ...path], value), job);
