import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type NeededRight, neededRights } from '../../infra/kubernetes/needed-rights.js';
import { allManifests, type Manifest } from '../support/manifests.js';

const all = allManifests();
const rulesSchema = z.looseObject({
  rules: z.array(
    z.strictObject({
      apiGroups: z.array(z.string()),
      resources: z.array(z.string()),
      verbs: z.array(z.string()),
    }),
  ),
});
const bindingSchema = z.looseObject({
  roleRef: z.object({ apiGroup: z.string(), kind: z.string(), name: z.string() }),
  subjects: z.array(z.strictObject({ kind: z.string(), name: z.string(), namespace: z.string() })),
});

const ofKind = (kind: string): Manifest[] => all.filter((manifest) => manifest.kind === kind);

/** `group/resource: verbs`, one line for each resource. */
const lines = (manifests: readonly Manifest[]): string[] =>
  manifests
    .flatMap((manifest) => rulesSchema.parse(manifest).rules)
    .flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.map((resource) => `${group}/${resource}: ${[...verbs].sort().join(' ')}`),
      ),
    )
    .sort();

const needed = (rights: readonly NeededRight[]): string[] =>
  rights
    .map(({ group, resource, subresource, verbs }) => {
      const name = subresource === undefined ? resource : `${resource}/${subresource}`;
      return `${group}/${name}: ${[...verbs].sort().join(' ')}`;
    })
    .sort();

describe('rights', () => {
  it('in the namespace of runners are those that the doctor asks for', () => {
    expect(lines(ofKind('Role'))).toEqual(
      needed(neededRights.filter((right) => right.isClusterWide !== true)),
    );
  });

  it('of the whole cluster are nodes, and nothing else', () => {
    expect(lines(ofKind('ClusterRole'))).toEqual(['/nodes: get list watch']);
    expect(needed(neededRights.filter((right) => right.isClusterWide === true))).toEqual([
      '/nodes: get list watch',
    ]);
  });

  it('are these, and Secrets cannot be read', () => {
    expect(lines(ofKind('Role'))).toEqual([
      '/events: get list watch',
      '/persistentvolumeclaims: create delete get list',
      '/pods/log: get',
      '/pods: get list watch',
      '/secrets: create delete patch',
      'batch/jobs: create delete get list patch watch',
    ]);
  });

  it('belong to the worker alone', () => {
    const bindings = [...ofKind('RoleBinding'), ...ofKind('ClusterRoleBinding')];
    expect(bindings).toHaveLength(2);
    for (const binding of bindings)
      expect(bindingSchema.parse(binding).subjects).toEqual([
        { kind: 'ServiceAccount', name: 'agentrun-worker', namespace: 'agentrun' },
      ]);
    expect(bindings.map(({ metadata }) => metadata.namespace)).toEqual(['agentrun-v01', undefined]);
  });

  it('hold no token by themselves: a pod has to ask for one', () => {
    const accounts = ofKind('ServiceAccount');
    expect(accounts.map(({ metadata }) => metadata.name).sort()).toEqual([
      'agentrun-api',
      'agentrun-migrate',
      'agentrun-v01-runner',
      'agentrun-worker',
    ]);
    for (const account of accounts) expect(account).toMatchObject({ automountServiceAccountToken: false });
  });
});
