import type { V1PersistentVolumeClaim, V1Secret } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { jobOwner, launchSecretManifest } from '../../../domain/kubernetes/launch-secret.js';
import { volumeClaimManifest } from '../../../domain/kubernetes/volume-claim.js';

describe('launchSecretManifest', () => {
  const manifest = launchSecretManifest({
    name: 'agentrun-x-1',
    namespace: 'runners',
    labels: { 'agentrun.dev/run': 'run_x', 'app.kubernetes.io/managed-by': 'somebody' },
    launch: '{"launchToken":"a"}',
    prepare: '{"workspace":null}',
  });

  it('holds both files under the keys that the Job mounts, and can not be changed', () => {
    const body: V1Secret = manifest;
    expect(body).toEqual({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        name: 'agentrun-x-1',
        namespace: 'runners',
        labels: { 'agentrun.dev/run': 'run_x', 'app.kubernetes.io/managed-by': 'agentrun' },
        annotations: {},
      },
      type: 'Opaque',
      immutable: true,
      stringData: { 'launch.json': '{"launchToken":"a"}', 'prepare.json': '{"workspace":null}' },
    });
  });

  it('goes with its Job, without holding it up', () => {
    expect(jobOwner({ name: 'agentrun-x-1', uid: 'u-1' })).toEqual({
      apiVersion: 'batch/v1',
      kind: 'Job',
      name: 'agentrun-x-1',
      uid: 'u-1',
      controller: false,
      blockOwnerDeletion: false,
    });
  });
});

describe('volumeClaimManifest', () => {
  const input = {
    name: 'agentrun-s-1',
    namespace: 'runners',
    sessionId: 'My.Session_1',
    generation: 'g1',
    className: 'fast',
    size: '10Gi',
    accessMode: 'ReadWriteOncePod',
  } as const;

  it('says whose it is, in what can hold any session id', () => {
    const body: V1PersistentVolumeClaim = volumeClaimManifest(input);
    expect(body).toEqual({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name: 'agentrun-s-1',
        namespace: 'runners',
        labels: {
          'app.kubernetes.io/managed-by': 'agentrun',
          'app.kubernetes.io/component': 'session-volume',
          'agentrun.dev/volume': 'agentrun-s-1',
        },
        annotations: { 'agentrun.dev/session': 'My.Session_1', 'agentrun.dev/generation': 'g1' },
      },
      spec: {
        accessModes: ['ReadWriteOncePod'],
        storageClassName: 'fast',
        resources: { requests: { storage: '10Gi' } },
      },
    });
  });

  it("names no class when the cluster's own is meant", () => {
    const { spec } = volumeClaimManifest({ ...input, className: undefined });
    expect(spec).not.toHaveProperty('storageClassName');
  });
});
