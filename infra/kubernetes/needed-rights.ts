/** A right in the words of RBAC; `group` '' is the core of Kubernetes. */
export interface NeededRight {
  readonly group: '' | 'batch';
  readonly resource: string;
  readonly subresource?: string;
  readonly verbs: readonly string[];
  /** Of the whole cluster, not of the namespace of runners. */
  readonly isClusterWide?: true;
}

/**
 * What a worker that starts runners may do in a cluster, and no more (security.md 12): the Role of deploy/kubernetes grants this, the doctor asks for it.
 * Secrets are written and never read.
 */
export const neededRights: readonly NeededRight[] = [
  { group: 'batch', resource: 'jobs', verbs: ['create', 'get', 'list', 'watch', 'patch', 'delete'] },
  { group: '', resource: 'secrets', verbs: ['create', 'patch', 'delete'] },
  { group: '', resource: 'pods', verbs: ['get', 'list', 'watch'] },
  { group: '', resource: 'pods', subresource: 'log', verbs: ['get'] },
  { group: '', resource: 'persistentvolumeclaims', verbs: ['create', 'get', 'list', 'delete'] },
  { group: '', resource: 'events', verbs: ['get', 'list', 'watch'] },
  { group: '', resource: 'nodes', verbs: ['get', 'list', 'watch'], isClusterWide: true },
];
