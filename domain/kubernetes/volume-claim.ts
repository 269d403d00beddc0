import { annotations, components, labels, managedBy } from './labels.js';
import type { VolumeClaimManifest } from './manifest-types.js';

export interface VolumeClaimInput {
  readonly name: string;
  readonly namespace: string;
  readonly sessionId: string;
  /** Whose volume it is: a later session of the same id has another generation. */
  readonly generation: string;
  /** Undefined: the cluster's default. */
  readonly className: string | undefined;
  /** A quantity of bytes. */
  readonly size: string;
  readonly accessMode: 'ReadWriteOncePod' | 'ReadWriteOnce' | 'ReadWriteMany';
}

/** The claim of a session's volume. It has no owner: it outlives every Job of the session and goes with the session only. */
export function volumeClaimManifest(input: VolumeClaimInput): VolumeClaimManifest {
  const { name, namespace, className, size } = input;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace,
      labels: {
        [labels.managedBy]: managedBy,
        [labels.component]: components.sessionVolume,
        [labels.volume]: name,
      },
      annotations: {
        [annotations.session]: input.sessionId,
        [annotations.generation]: input.generation,
      },
    },
    spec: {
      accessModes: [input.accessMode],
      // An empty name would mean "no class at all" to Kubernetes.
      ...(className === undefined ? {} : { storageClassName: className }),
      resources: { requests: { storage: size } },
    },
  };
}
