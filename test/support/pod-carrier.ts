import { z } from 'zod';

/* What the policy reads of manifests: only the named fields, as an API server would default them. */

const amounts = z.record(z.string(), z.union([z.string(), z.number()]).transform(String)).default({});
const probe = z.looseObject({
  httpGet: z
    .looseObject({ host: z.string().optional(), path: z.string(), port: z.union([z.number(), z.string()]) })
    .optional(),
  tcpSocket: z.looseObject({ host: z.string().optional() }).optional(),
  timeoutSeconds: z.number().optional(),
  periodSeconds: z.number().optional(),
  failureThreshold: z.number().optional(),
});
const profile = z.looseObject({ type: z.string() });
const containerSecurity = z.looseObject({
  privileged: z.boolean().optional(),
  allowPrivilegeEscalation: z.boolean().optional(),
  readOnlyRootFilesystem: z.boolean().optional(),
  runAsNonRoot: z.boolean().optional(),
  runAsUser: z.number().optional(),
  procMount: z.string().optional(),
  capabilities: z
    .looseObject({ drop: z.array(z.string()).default([]), add: z.array(z.string()).default([]) })
    .default({ drop: [], add: [] }),
  seccompProfile: profile.optional(),
  appArmorProfile: profile.optional(),
});

const container = z.looseObject({
  name: z.string(),
  image: z.string(),
  restartPolicy: z.string().optional(),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  env: z
    .array(
      z.looseObject({
        name: z.string(),
        value: z.string().optional(),
        valueFrom: z.looseObject({ secretKeyRef: z.unknown().optional() }).optional(),
      }),
    )
    .default([]),
  envFrom: z.array(z.looseObject({ secretRef: z.unknown().optional() })).default([]),
  ports: z
    .array(
      z.looseObject({
        name: z.string().optional(),
        containerPort: z.number(),
        hostPort: z.number().optional(),
      }),
    )
    .default([]),
  resources: z.looseObject({ requests: amounts, limits: amounts }).default({ requests: {}, limits: {} }),
  securityContext: containerSecurity.default({ capabilities: { drop: [], add: [] } }),
  startupProbe: probe.optional(),
  readinessProbe: probe.optional(),
  livenessProbe: probe.optional(),
  lifecycle: z.unknown().optional(),
});

const volume = z.looseObject({
  name: z.string(),
  emptyDir: z.looseObject({ sizeLimit: z.union([z.string(), z.number()]).optional() }).optional(),
  projected: z
    .looseObject({ sources: z.array(z.looseObject({ serviceAccountToken: z.unknown().optional() })) })
    .optional(),
});

const pod = z.looseObject({
  restartPolicy: z.string().default('Always'),
  runtimeClassName: z.string().optional(),
  automountServiceAccountToken: z.boolean().default(true),
  enableServiceLinks: z.boolean().default(true),
  shareProcessNamespace: z.boolean().default(false),
  hostNetwork: z.boolean().default(false),
  hostPID: z.boolean().default(false),
  hostIPC: z.boolean().default(false),
  securityContext: z
    .looseObject({
      runAsNonRoot: z.boolean().optional(),
      runAsUser: z.number().optional(),
      supplementalGroups: z.array(z.number()).default([]),
      sysctls: z.array(z.unknown()).default([]),
      seccompProfile: profile.optional(),
      appArmorProfile: profile.optional(),
    })
    .default({ supplementalGroups: [], sysctls: [] }),
  initContainers: z.array(container).default([]),
  containers: z.array(container).min(1),
  ephemeralContainers: z.array(z.unknown()).max(0).default([]),
  volumes: z.array(volume).default([]),
});

export type Container = z.output<typeof container>;
export type Volume = z.output<typeof volume>;
export type Pod = z.output<typeof pod>;

/** A manifest that makes pods, or a service account (then `pod` is undefined). */
export interface PodCarrier {
  readonly kind: string;
  readonly name: string;
  readonly pod: Pod | undefined;
  readonly podLabels: Readonly<Record<string, string>>;
  /** Of a service account. */
  readonly automountsToken: boolean;
  /** Of a Job. */
  readonly job: z.output<typeof jobSpec> | undefined;
}

const metadata = z.looseObject({ name: z.string(), labels: z.record(z.string(), z.string()).default({}) });
const template = z.looseObject({
  metadata: z.looseObject({ labels: z.record(z.string(), z.string()).default({}) }).default({ labels: {} }),
  spec: pod,
});
const jobSpec = z.looseObject({
  template,
  backoffLimit: z.number().default(6),
  completions: z.number().default(1),
  parallelism: z.number().default(1),
  activeDeadlineSeconds: z.number().optional(),
  podReplacementPolicy: z.string().optional(),
});

const anyManifest = z.looseObject({ kind: z.string() });
const podManifest = z.looseObject({ metadata, spec: pod });
const workloadManifest = z.looseObject({ metadata, spec: z.looseObject({ template }) });
const jobManifest = z.looseObject({ metadata, spec: jobSpec });
const cronJobManifest = z.looseObject({
  metadata,
  spec: z.looseObject({ jobTemplate: z.looseObject({ spec: jobSpec }) }),
});
const serviceAccount = z.looseObject({
  metadata,
  automountServiceAccountToken: z.boolean().default(true),
});

/** Undefined: no pod is made by it. */
export function podCarrierOf(manifest: unknown): PodCarrier | undefined {
  const { kind } = anyManifest.parse(manifest);
  const none = { kind, pod: undefined, podLabels: {}, automountsToken: false, job: undefined };
  const ofJob = (name: string, job: z.output<typeof jobSpec>): PodCarrier => {
    const { template: made } = job;
    return { ...none, kind: 'Job', name, pod: made.spec, podLabels: made.metadata.labels, job };
  };
  switch (kind) {
    case 'Pod': {
      const read = podManifest.parse(manifest);
      return { ...none, name: read.metadata.name, pod: read.spec, podLabels: read.metadata.labels };
    }
    case 'Deployment':
    case 'StatefulSet':
    case 'DaemonSet':
    case 'ReplicaSet': {
      const read = workloadManifest.parse(manifest);
      const made = read.spec.template;
      return { ...none, name: read.metadata.name, pod: made.spec, podLabels: made.metadata.labels };
    }
    case 'Job': {
      const read = jobManifest.parse(manifest);
      return ofJob(read.metadata.name, read.spec);
    }
    case 'CronJob': {
      const read = cronJobManifest.parse(manifest);
      return ofJob(read.metadata.name, read.spec.jobTemplate.spec);
    }
    case 'ServiceAccount': {
      const read = serviceAccount.parse(manifest);
      return { ...none, name: read.metadata.name, automountsToken: read.automountServiceAccountToken };
    }
    default:
      return undefined;
  }
}
