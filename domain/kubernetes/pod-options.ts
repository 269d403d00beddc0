/** Amounts of what a container may have, as quantities of Kubernetes. */
export type ResourceAmounts = Readonly<Record<'cpu' | 'memory' | 'ephemeral-storage', string>>;

/** No part is optional: a namespace with a quota refuses a pod that leaves one out (requirements.md A.2.c 26). */
export interface ContainerResources {
  readonly requests: ResourceAmounts;
  readonly limits: ResourceAmounts;
}

/** What of a node's taints a runner's pod takes. */
export interface Toleration {
  readonly key?: string;
  readonly operator: 'Exists' | 'Equal';
  readonly value?: string;
  readonly effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  readonly tolerationSeconds?: number;
}

/** How the runners of the namespace are spread over nodes. */
export interface TopologySpread {
  readonly maxSkew: number;
  readonly topologyKey: string;
  readonly whenUnsatisfiable: 'DoNotSchedule' | 'ScheduleAnyway';
}

/** What an operator may choose about the pods of runners. Nothing of it loosens their security. */
export interface PodOptions {
  readonly resources: {
    readonly prepare: ContainerResources;
    readonly agentHost: ContainerResources;
    readonly supervisor: ContainerResources;
  };
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly Toleration[];
  readonly topologySpread: readonly TopologySpread[];
  readonly priorityClassName: string | undefined;
  /** For example gVisor or Kata: the agent is then apart from the node's kernel too (security.md 5). */
  readonly runtimeClassName: string | undefined;
  /** Names of Secrets in the namespace of runners. */
  readonly imagePullSecrets: readonly string[];
  /** Queue of Kueue, which lets the Job begin; undefined: it begins at once. */
  readonly kueueQueue: string | undefined;
  /** Labels and annotations of Job and pod beside ours. */
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** How long a runner that is asked to end may take for it. */
  readonly terminationGraceSeconds: number;
  /**
   * How long a pod stays bound to a node that does not answer. The runner on it may live on, which its lease tells and the epoch makes safe, so the
   * cluster is not to kill it before the partition grace of a turn is over; our own supervision is faster where the lease expired.
   */
  readonly nodeLossSeconds: number;
}

/** Taints of a node that does not answer. A pod that bears neither gets both from the cluster, with 300 s. */
export const nodeLossTaints = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'] as const;

/** Requests and limits of requirements.md A.2.c 25 and 26. The agent and everything it starts runs in `agentHost`. */
const smallContainer: ContainerResources = {
  requests: { cpu: '100m', memory: '128Mi', 'ephemeral-storage': '256Mi' },
  limits: { cpu: '1', memory: '1Gi', 'ephemeral-storage': '2Gi' },
};

export const defaultPodOptions: PodOptions = {
  resources: {
    prepare: smallContainer,
    agentHost: {
      requests: { cpu: '500m', memory: '512Mi', 'ephemeral-storage': '1Gi' },
      limits: { cpu: '2', memory: '8Gi', 'ephemeral-storage': '10Gi' },
    },
    supervisor: smallContainer,
  },
  nodeSelector: {},
  tolerations: [],
  topologySpread: [],
  priorityClassName: undefined,
  runtimeClassName: undefined,
  imagePullSecrets: [],
  kueueQueue: undefined,
  labels: {},
  annotations: {},
  terminationGraceSeconds: 60,
  nodeLossSeconds: 900,
};
