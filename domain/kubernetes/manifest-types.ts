import type { ContainerResources, Toleration, TopologySpread } from './pod-options.js';

/*
 * The part of Kubernetes' types that AgentRun writes. What security asks for is not optional and has one value only, so that a manifest without it does
 * not compile. Lists are not readonly: the client's own types are not, and a manifest is handed to it as it is.
 */

export interface ObjectMetadata {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}

export interface ContainerSecurity {
  readonly allowPrivilegeEscalation: false;
  readonly privileged: false;
  readonly readOnlyRootFilesystem: true;
  readonly runAsNonRoot: true;
  readonly runAsUser: number;
  readonly runAsGroup: number;
  readonly capabilities: { readonly drop: ['ALL'] };
  readonly seccompProfile: { readonly type: 'RuntimeDefault' };
}

export interface PodSecurity {
  readonly runAsNonRoot: true;
  readonly runAsUser: number;
  readonly runAsGroup: number;
  readonly fsGroup: number;
  readonly fsGroupChangePolicy: 'OnRootMismatch';
  readonly seccompProfile: { readonly type: 'RuntimeDefault' };
}

export interface ProbeTimes {
  readonly initialDelaySeconds: number;
  readonly periodSeconds: number;
  readonly timeoutSeconds: number;
  readonly failureThreshold: number;
}

export type HttpProbe = ProbeTimes & { readonly httpGet: { readonly path: string; readonly port: number } };
export type CommandProbe = ProbeTimes & { readonly exec: { readonly command: string[] } };

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly subPath?: string;
  readonly readOnly: boolean;
}

/** What every container has. A value in its environment is never a secret. */
interface Container {
  readonly name: string;
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly args: string[];
  readonly env: { readonly name: string; readonly value: string }[];
  readonly resources: ContainerResources;
  readonly securityContext: ContainerSecurity;
  readonly terminationMessagePath: string;
  readonly terminationMessagePolicy: 'File';
  readonly volumeMounts: VolumeMount[];
}

/** Runs to its end before the next one begins; its own program bounds its time. */
export type InitContainer = Container;

/** Ends after the main container, and keeps no Job alive. */
export interface SidecarContainer extends Container {
  readonly restartPolicy: 'Always';
  readonly readinessProbe: CommandProbe;
  readonly livenessProbe: CommandProbe;
}

export interface MainContainer extends Container {
  readonly ports: { readonly name: string; readonly containerPort: number; readonly protocol: 'TCP' }[];
  readonly startupProbe: HttpProbe;
  readonly readinessProbe: HttpProbe;
  readonly livenessProbe: HttpProbe;
}

export type Volume =
  | {
      readonly name: string;
      readonly persistentVolumeClaim: { readonly claimName: string; readonly readOnly: false };
    }
  | { readonly name: string; readonly emptyDir: { readonly medium?: 'Memory'; readonly sizeLimit: string } }
  | {
      readonly name: string;
      readonly secret: {
        readonly secretName: string;
        readonly defaultMode: number;
        readonly items: { readonly key: string; readonly path: string }[];
      };
    };

export interface PodSpec {
  readonly restartPolicy: 'Never';
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: false;
  readonly enableServiceLinks: false;
  readonly hostNetwork: false;
  readonly hostPID: false;
  readonly hostIPC: false;
  readonly shareProcessNamespace: false;
  readonly os: { readonly name: 'linux' };
  readonly securityContext: PodSecurity;
  readonly terminationGracePeriodSeconds: number;
  readonly nodeSelector: Record<string, string>;
  readonly tolerations: Toleration[];
  readonly topologySpreadConstraints: (TopologySpread & {
    readonly labelSelector: { readonly matchLabels: Record<string, string> };
  })[];
  readonly imagePullSecrets: { readonly name: string }[];
  readonly priorityClassName?: string;
  readonly runtimeClassName?: string;
  readonly initContainers: [InitContainer, SidecarContainer];
  readonly containers: [MainContainer];
  readonly volumes: Volume[];
}

type FailureRule =
  | {
      readonly action: 'FailJob';
      readonly onExitCodes: {
        readonly containerName: string;
        readonly operator: 'In';
        readonly values: number[];
      };
    }
  | {
      readonly action: 'FailJob';
      readonly onPodConditions: { readonly type: 'DisruptionTarget'; readonly status: 'True' }[];
    };

export interface JobManifest {
  readonly apiVersion: 'batch/v1';
  readonly kind: 'Job';
  readonly metadata: ObjectMetadata;
  readonly spec: {
    readonly completions: 1;
    readonly parallelism: 1;
    readonly backoffLimit: 0;
    readonly activeDeadlineSeconds: number;
    readonly podReplacementPolicy: 'Failed';
    readonly podFailurePolicy: { readonly rules: FailureRule[] };
    readonly suspend: boolean;
    readonly template: {
      readonly metadata: Pick<ObjectMetadata, 'labels' | 'annotations'>;
      readonly spec: PodSpec;
    };
  };
}

export interface SecretManifest {
  readonly apiVersion: 'v1';
  readonly kind: 'Secret';
  readonly metadata: ObjectMetadata;
  readonly type: 'Opaque';
  readonly immutable: true;
  readonly stringData: Record<string, string>;
}

export interface VolumeClaimManifest {
  readonly apiVersion: 'v1';
  readonly kind: 'PersistentVolumeClaim';
  readonly metadata: ObjectMetadata;
  readonly spec: {
    readonly accessModes: ['ReadWriteOncePod' | 'ReadWriteOnce' | 'ReadWriteMany'];
    readonly storageClassName?: string;
    readonly resources: { readonly requests: { readonly storage: string } };
  };
}

export interface OwnerReference {
  readonly apiVersion: 'batch/v1';
  readonly kind: 'Job';
  readonly name: string;
  readonly uid: string;
  readonly controller: false;
  readonly blockOwnerDeletion: false;
}
