import { managedBy, labels as ours } from './labels.js';
import type { OwnerReference, SecretManifest } from './manifest-types.js';
import { podLayout } from './pod-layout.js';

/** What is told to a runner, and to its prepare; each a JSON text. Both hold credentials. */
export interface LaunchSecretInput {
  /** Of the Job too: one attempt has one Secret. */
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly launch: string;
  readonly prepare: string;
}

/** The Secret that a Job's containers read their launch from. Immutable: what a runner was told is not changed under it. */
export function launchSecretManifest(input: LaunchSecretInput): SecretManifest {
  const keys = podLayout.launchSecretKeys;
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: input.name,
      namespace: input.namespace,
      labels: { ...input.labels, [ours.managedBy]: managedBy },
      annotations: {},
    },
    type: 'Opaque',
    immutable: true,
    stringData: { [keys.launch]: input.launch, [keys.prepare]: input.prepare },
  };
}

/** Makes what it is put on go with the Job. It does not block the Job's own deletion, for which the worker would need one more right. */
export function jobOwner(job: { readonly name: string; readonly uid: string }): OwnerReference {
  return { apiVersion: 'batch/v1', kind: 'Job', ...job, controller: false, blockOwnerDeletion: false };
}
