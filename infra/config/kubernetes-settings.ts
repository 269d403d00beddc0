import { z } from 'zod';
import { durationMsSetting, portSetting } from './setting-types.js';

const imagePolicy = z.enum(['Always', 'IfNotPresent', 'Never'], {
  error: 'expected Always, IfNotPresent or Never',
});
/** A name as Kubernetes takes it for namespaces, secrets and the prefix of Jobs. */
const nameSetting = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'expected lower-case letters, digits and dashes, at most 63',
  );

/** Where sessions and runners live in a cluster: read by API and worker. */
export const clusterVariables = {
  AGENTRUN_RUNTIME_NAMESPACE: nameSetting
    .default('agentrun-v01')
    .describe('Namespace of runners and volumes of sessions.'),
  AGENTRUN_SESSION_STORAGE: z
    .enum(['directory', 'pvc'], { error: 'expected directory or pvc' })
    .default('directory')
    .describe(
      'Where files of sessions live: directory (below the data folder) or pvc (a volume claim each). pvc goes with AGENTRUN_LAUNCHER=kubernetes.',
    ),
};

/** Where the files of new sessions are to live; those of a session stay where they were made. */
export type StoragePlace =
  | { readonly backend: 'directory' }
  | { readonly backend: 'pvc'; readonly namespace: string };

const clusterSettings = z.object(clusterVariables);

/** What a process that has {@link clusterVariables} says about new sessions. */
export const storagePlace = (read: z.output<typeof clusterSettings>): StoragePlace =>
  read.AGENTRUN_SESSION_STORAGE === 'directory'
    ? { backend: 'directory' }
    : { backend: 'pvc', namespace: read.AGENTRUN_RUNTIME_NAMESPACE };

/** The variables of a worker that starts runners in a cluster (`AGENTRUN_LAUNCHER=kubernetes`). */
export const kubernetesVariables = {
  ...clusterVariables,
  KUBECONFIG: z
    .string()
    .optional()
    .describe('File that names the cluster. Not set: the cluster that the worker runs in.'),
  AGENTRUN_RUNNER_IMAGE: z.string().optional().describe('Image of runners, best by digest.'),
  AGENTRUN_RUNNER_IMAGE_PULL_POLICY: imagePolicy
    .default('IfNotPresent')
    .describe('When nodes pull the image of runners.'),
  AGENTRUN_RUNNER_SERVICE_ACCOUNT: nameSetting
    .default('agentrun-v01-runner')
    .describe('Service account of runners. Its token is mounted in none.'),
  AGENTRUN_RUNNER_HEALTH_PORT: portSetting.default(8_181).describe('Port of the probes of runners.'),
  AGENTRUN_RUNNER_POD_FILE: z
    .string()
    .optional()
    .describe(
      'YAML file with resources, node selector, tolerations and the like of runners. Not set: the defaults.',
    ),
  AGENTRUN_PROVIDER_SECRET: nameSetting
    .default('agentrun-provider')
    .describe('Secret in the namespace of runners that holds the key of the model provider under `key`.'),
  AGENTRUN_SESSION_STORAGE_CLASS: z
    .string()
    .optional()
    .describe("Storage class of sessions' volumes. Not set: the cluster's default."),
  AGENTRUN_SESSION_STORAGE_SIZE: z
    .string()
    .regex(/^\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$/, 'expected a quantity such as 10Gi')
    .default('10Gi')
    .describe("Size of a session's volume."),
  AGENTRUN_SESSION_STORAGE_ACCESS_MODE: z
    .enum(['ReadWriteOncePod', 'ReadWriteOnce', 'ReadWriteMany'], {
      error: 'expected ReadWriteOncePod, ReadWriteOnce or ReadWriteMany',
    })
    .default('ReadWriteOnce')
    .describe("Access mode of sessions' volumes: ReadWriteOncePod where the driver can."),
  AGENTRUN_RUNNER_PLACE_TIMEOUT_MS: durationMsSetting
    .default(600_000)
    .describe('How long the pod of a runner may wait for a node, or for room in a quota.'),
  AGENTRUN_RUNNER_IMAGE_TIMEOUT_MS: durationMsSetting
    .default(120_000)
    .describe('How long the pod of a runner may fail to get its image.'),
  AGENTRUN_RUNNER_VOLUME_TIMEOUT_MS: durationMsSetting
    .default(300_000)
    .describe('How long the pod of a runner may wait for its volume.'),
  AGENTRUN_LANE: z
    .string()
    .optional()
    .describe('Label of the Jobs of this installation, to tell several apart.'),
  AGENTRUN_ENV_IDENTITY: z
    .string()
    .optional()
    .describe('Annotation of the Jobs: the environment they are of.'),
  AGENTRUN_SOURCE_COMMIT: z.string().optional().describe('Commit that was built: a label of the Jobs.'),
  AGENTRUN_RUNNER_FINISHED_TTL_MS: durationMsSetting
    .default(3_600_000)
    .describe(
      'How long the Job of a runner that has ended stays in the cluster once its diagnostics are stored.',
    ),
};

/** What every piece of AgentRun in a cluster has to agree on. */
export interface KubernetesSettings {
  readonly namespace: string;
  readonly kubeconfig: string | undefined;
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly serviceAccount: string;
  readonly healthPort: number;
  /** Path of the YAML file with what a pod gets beside its containers; undefined: the defaults. */
  readonly podFile: string | undefined;
  readonly providerSecret: string;
  readonly storage: {
    readonly className: string | undefined;
    readonly size: string;
    readonly accessMode: 'ReadWriteOncePod' | 'ReadWriteOnce' | 'ReadWriteMany';
  };
  /** How long a pod may wait for what, before it is given up (decisions.md, Timeouts). */
  readonly graceMs: { readonly place: number; readonly image: number; readonly volume: number };
  /** How long a Job that has finished stays, once its diagnostics are stored. */
  readonly finishedTtlMs: number;
  /** What the old manager named an installation by. */
  readonly origin: {
    readonly lane: string | undefined;
    readonly environment: string | undefined;
    readonly sourceCommit: string | undefined;
  };
}

const kubernetesSettings = z.object(kubernetesVariables);

/** What was read of {@link kubernetesVariables}. `image` is checked by the caller: it is needed only with this launcher. */
export function kubernetesConfig(
  read: z.output<typeof kubernetesSettings>,
  image: string,
): KubernetesSettings {
  return {
    namespace: read.AGENTRUN_RUNTIME_NAMESPACE,
    kubeconfig: read.KUBECONFIG,
    image,
    imagePullPolicy: read.AGENTRUN_RUNNER_IMAGE_PULL_POLICY,
    serviceAccount: read.AGENTRUN_RUNNER_SERVICE_ACCOUNT,
    healthPort: read.AGENTRUN_RUNNER_HEALTH_PORT,
    podFile: read.AGENTRUN_RUNNER_POD_FILE,
    providerSecret: read.AGENTRUN_PROVIDER_SECRET,
    storage: {
      className: read.AGENTRUN_SESSION_STORAGE_CLASS,
      size: read.AGENTRUN_SESSION_STORAGE_SIZE,
      accessMode: read.AGENTRUN_SESSION_STORAGE_ACCESS_MODE,
    },
    graceMs: {
      place: read.AGENTRUN_RUNNER_PLACE_TIMEOUT_MS,
      image: read.AGENTRUN_RUNNER_IMAGE_TIMEOUT_MS,
      volume: read.AGENTRUN_RUNNER_VOLUME_TIMEOUT_MS,
    },
    finishedTtlMs: read.AGENTRUN_RUNNER_FINISHED_TTL_MS,
    origin: {
      lane: read.AGENTRUN_LANE,
      environment: read.AGENTRUN_ENV_IDENTITY,
      sourceCommit: read.AGENTRUN_SOURCE_COMMIT,
    },
  };
}
