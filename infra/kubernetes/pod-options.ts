import { readFileSync } from 'node:fs';
import { loadYaml } from '@kubernetes/client-node';
import { z } from 'zod';
import { keyProblem, labelValueProblem, objectNameProblem } from '../../domain/kubernetes/names.js';
import {
  type ContainerResources,
  defaultPodOptions,
  nodeLossTaints,
  type PodOptions,
  type ResourceAmounts,
  type Toleration,
} from '../../domain/kubernetes/pod-options.js';
import { parseQuantity } from '../../domain/kubernetes/quantity.js';
import { ConfigurationError } from '../config/read-env.js';

/** The options of runners' pods per backend profile. */
export type PodOptionsOf = (backendProfile: string) => PodOptions;

const accepted = (problemOf: (text: string) => string | undefined) =>
  z.string().superRefine((text, context) => {
    const message = problemOf(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
const objectName = accepted(objectNameProblem);
const labelKey = accepted(keyProblem);
const labelValue = accepted(labelValueProblem);

/** Keys that AgentRun sets itself, and annotations by which a pod could be made less secure. */
const reservedKey =
  /^(app\.kubernetes\.io\/(managed-by|component)|(agentrun\.dev|batch\.kubernetes\.io|kueue\.x-k8s\.io|container\.apparmor\.security\.beta\.kubernetes\.io|cluster-autoscaler\.kubernetes\.io|karpenter\.sh)\/.*)$/;
const ownKey = labelKey.refine((key) => !reservedKey.test(key), "is AgentRun's or Kubernetes' own to set");

/** Whole and fractional cores; YAML reads `2` as a number. */
const cpu = quantity(/^[\d.]+m?$/, 'an amount of cores such as 500m or 2');
const bytes = quantity(/^[\d.]+([eE]\d+|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/, 'an amount of bytes such as 512Mi');

function quantity(shape: RegExp, meaning: string) {
  return z
    .union([z.string(), z.number()], { error: `expected ${meaning}` })
    .transform(String)
    .refine((text) => shape.test(text) && (parseQuantity(text) ?? 0) > 0, `expected ${meaning}`);
}

const amounts = z
  .strictObject({ cpu: cpu.optional(), memory: bytes.optional(), 'ephemeral-storage': bytes.optional() })
  .optional();
const resources = z.strictObject({ requests: amounts, limits: amounts }).optional();

const toleration = z
  .strictObject({
    key: labelKey.refine(
      (key) => !nodeLossTaints.some((taint) => taint === key),
      'nodeLossSeconds says how long a lost node is borne',
    ),
    operator: z.enum(['Exists', 'Equal'], { error: 'expected Exists or Equal' }).default('Equal'),
    value: labelValue.optional(),
    effect: z
      .enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'], {
        error: 'expected NoSchedule, PreferNoSchedule or NoExecute',
      })
      .optional(),
    tolerationSeconds: z.number().int().min(0).max(86_400).optional(),
  })
  .refine((one) => one.operator === 'Equal' || one.value === undefined, 'Exists takes no value')
  .refine(
    (one) => one.tolerationSeconds === undefined || one.effect === 'NoExecute',
    'tolerationSeconds goes with the effect NoExecute',
  )
  .transform(
    ({ key, operator, value, effect, tolerationSeconds }): Toleration => ({
      key,
      operator,
      ...(value === undefined ? {} : { value }),
      ...(effect === undefined ? {} : { effect }),
      ...(tolerationSeconds === undefined ? {} : { tolerationSeconds }),
    }),
  );

/** Everything may be left out: then it is as {@link defaultPodOptions} says, for a profile as the file's own top says. */
const optionFields = {
  resources: z.strictObject({ prepare: resources, agentHost: resources, supervisor: resources }).optional(),
  nodeSelector: z.record(labelKey, labelValue).optional(),
  tolerations: z.array(toleration).max(100).optional(),
  topologySpread: z
    .array(
      z.strictObject({
        maxSkew: z.number().int().min(1).max(1_000),
        topologyKey: labelKey,
        whenUnsatisfiable: z.enum(['DoNotSchedule', 'ScheduleAnyway'], {
          error: 'expected DoNotSchedule or ScheduleAnyway',
        }),
      }),
    )
    .max(10)
    .optional(),
  priorityClassName: objectName.optional(),
  runtimeClassName: objectName.optional(),
  imagePullSecrets: z.array(objectName).max(20).optional(),
  kueueQueue: labelValue.min(1).optional(),
  labels: z.record(ownKey, labelValue).optional(),
  annotations: z.record(ownKey, z.string().max(4_000)).optional(),
  terminationGraceSeconds: z.number().int().min(20).max(200).optional(),
  nodeLossSeconds: z.number().int().min(0).max(86_400).optional(),
};
const optionsSchema = z.strictObject(optionFields);
type GivenOptions = z.output<typeof optionsSchema>;

const fileSchema = z.strictObject({
  ...optionFields,
  /** By backend profile: what is otherwise for its runners, for example another runtime class. */
  profiles: z.record(z.string().min(1).max(200), optionsSchema).default({}),
});

/**
 * Reads `AGENTRUN_RUNNER_POD_FILE`.
 *
 * @throws ConfigurationError naming every wrong entry. What is wrong here would otherwise be seen when the first turn is to begin.
 */
export function readPodOptions(path: string | undefined): PodOptionsOf {
  if (path === undefined) return () => defaultPodOptions;
  return parsePodOptions(readPodFile(path), path);
}

/** @throws ConfigurationError as {@link readPodOptions}. `source` names the text in its message. */
export function parsePodOptions(text: string, source: string): PodOptionsOf {
  const parsed = fileSchema.safeParse(yamlOf(text, source));
  if (!parsed.success)
    throw wrongFile(
      source,
      parsed.error.issues.map((issue) => ({ at: issue.path.map(String), message: issue.message })),
    );
  const { profiles, ...top } = parsed.data;
  const common = merge(defaultPodOptions, top);
  const special = new Map(Object.entries(profiles).map(([name, given]) => [name, merge(common, given)]));
  const findings = [
    ...excesses([], common),
    ...[...special].flatMap(([name, options]) => excesses(['profiles', name], options)),
  ];
  if (findings.length > 0) throw wrongFile(source, findings);
  return (backendProfile) => special.get(backendProfile) ?? common;
}

function readPodFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw wrongFile(path, [{ at: [], message: `cannot be read (${code})` }]);
  }
}

function yamlOf(text: string, source: string): unknown {
  try {
    const content: unknown = loadYaml(text);
    return content;
  } catch (error) {
    // Its first line says what and where; the others quote the file.
    const [reason = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    throw wrongFile(source, [{ at: [], message: `is no YAML mapping (${reason}); {} takes all defaults` }]);
  }
}

/** Amounts are merged one by one, everything else is taken as a whole. */
function merge(base: PodOptions, given: GivenOptions): PodOptions {
  return {
    resources: {
      prepare: mergeResources(base.resources.prepare, given.resources?.prepare),
      agentHost: mergeResources(base.resources.agentHost, given.resources?.agentHost),
      supervisor: mergeResources(base.resources.supervisor, given.resources?.supervisor),
    },
    nodeSelector: given.nodeSelector ?? base.nodeSelector,
    tolerations: given.tolerations ?? base.tolerations,
    topologySpread: given.topologySpread ?? base.topologySpread,
    priorityClassName: given.priorityClassName ?? base.priorityClassName,
    runtimeClassName: given.runtimeClassName ?? base.runtimeClassName,
    imagePullSecrets: given.imagePullSecrets ?? base.imagePullSecrets,
    kueueQueue: given.kueueQueue ?? base.kueueQueue,
    labels: given.labels ?? base.labels,
    annotations: given.annotations ?? base.annotations,
    terminationGraceSeconds: given.terminationGraceSeconds ?? base.terminationGraceSeconds,
    nodeLossSeconds: given.nodeLossSeconds ?? base.nodeLossSeconds,
  };
}

function mergeResources(base: ContainerResources, given: z.output<typeof resources>): ContainerResources {
  return {
    requests: mergeAmounts(base.requests, given?.requests),
    limits: mergeAmounts(base.limits, given?.limits),
  };
}

const mergeAmounts = (base: ResourceAmounts, given: z.output<typeof amounts>): ResourceAmounts => ({
  cpu: given?.cpu ?? base.cpu,
  memory: given?.memory ?? base.memory,
  'ephemeral-storage': given?.['ephemeral-storage'] ?? base['ephemeral-storage'],
});

interface Finding {
  readonly at: readonly string[];
  readonly message: string;
}

/** Every request that is above its limit: the API server would refuse the pod, not the worker its start. */
function excesses(at: readonly string[], options: PodOptions): Finding[] {
  return Object.entries(options.resources).flatMap(([container, { requests, limits }]) =>
    (['cpu', 'memory', 'ephemeral-storage'] as const).flatMap((resource): Finding[] => {
      const [request = Number.NaN, limit = Number.NaN] = [requests, limits].map((one) =>
        parseQuantity(one[resource]),
      );
      if (request <= limit) return [];
      const message = `${requests[resource]} is requested, above the limit of ${limits[resource]}`;
      return [{ at: [...at, 'resources', container, 'requests', resource], message }];
    }),
  );
}

const wrongFile = (source: string, findings: readonly Finding[]) =>
  new ConfigurationError(
    findings.map(({ at, message }) => ({
      variable: 'AGENTRUN_RUNNER_POD_FILE',
      expected: `${[source, at.join('.')].filter((part) => part !== '').join(': ')}: ${message}`,
    })),
  );
