import { ApiException, VersionApi } from '@kubernetes/client-node';
import type { Check, CheckFinding } from '../../contract/doctor.js';
import { clockOffsetMs, clockRemark } from '../../domain/clock-offset.js';
import type { KubernetesSettings } from '../config/kubernetes-settings.js';
import { hasStatus, isRefused, reasonOf } from '../kubernetes/api-errors.js';
import { type Cluster, connectCluster } from '../kubernetes/cluster.js';
import { neededRights } from '../kubernetes/needed-rights.js';

/** Of an HTTP date. */
const dateResolutionMs = 1_000;
const reachable = 'cluster';
const granting =
  'apply the Role and ClusterRole of deploy/kubernetes to the account that KUBECONFIG names (in a pod: its service account)';

/** What these checks look at; the last two are for tests. */
export interface ClusterToCheck {
  readonly settings: KubernetesSettings;
  readonly connect?: (settings: KubernetesSettings) => Cluster;
  readonly nowMs?: () => number;
}

/** Whether the cluster answers, has our time, lets us do what runners need, and makes volumes. */
export function clusterChecks({
  settings,
  connect = connectCluster,
  nowMs = Date.now,
}: ClusterToCheck): Check[] {
  const place =
    settings.kubeconfig === undefined
      ? 'the cluster that this runs in'
      : `the cluster of ${settings.kubeconfig}`;
  return [
    {
      name: reachable,
      variable: 'KUBECONFIG',
      cure: 'correct KUBECONFIG: a file that names a cluster which answers; not set, AgentRun has to run in the cluster',
      look: async () => {
        const { config } = connect(settings);
        const server = config.getCurrentCluster()?.server ?? '';
        // What the client makes of variables that only a pod has.
        if (server.includes('undefined'))
          return {
            ok: false,
            message: 'this runs in no cluster, and KUBECONFIG is not set',
            cure: 'set KUBECONFIG to a file that names the cluster',
          };
        const { gitVersion } = await config.makeApiClient(VersionApi).getCode();
        return { ok: true, message: `${place} answers (${gitVersion})` };
      },
    },
    {
      name: 'cluster clock',
      needs: reachable,
      variable: 'KUBECONFIG',
      cure: 'correct KUBECONFIG first',
      look: async () => {
        const beforeMs = nowMs();
        const { headers } = await connect(settings).config.makeApiClient(VersionApi).getCodeWithHttpInfo();
        const theirsMs = Date.parse(headers.date ?? '');
        if (Number.isNaN(theirsMs)) return { ok: true, message: 'the API server tells no time' };
        const remark = clockRemark(
          clockOffsetMs({ beforeMs, afterMs: nowMs(), theirsMs, resolutionMs: dateResolutionMs }),
        );
        return remark === undefined
          ? { ok: true, message: 'the same as here' }
          : {
              ok: false,
              message: `the clock of the API server is ${remark}`,
              cure: 'set both clocks by a time server (timedatectl set-ntp true)',
            };
      },
    },
    {
      name: 'cluster rights',
      needs: reachable,
      variable: 'AGENTRUN_RUNTIME_NAMESPACE',
      cure: granting,
      look: () => lookAtRights(connect(settings)),
    },
    {
      name: 'session volumes',
      needs: 'cluster rights',
      variable: 'AGENTRUN_SESSION_STORAGE_CLASS',
      cure: 'correct AGENTRUN_SESSION_STORAGE_CLASS, AGENTRUN_SESSION_STORAGE_SIZE and AGENTRUN_SESSION_STORAGE_ACCESS_MODE',
      look: () => lookAtVolumes(connect(settings), settings.storage),
    },
  ];
}

/** Asks the API server itself, so that every way of granting a right counts. */
async function lookAtRights(cluster: Cluster): Promise<CheckFinding> {
  const questions = neededRights.flatMap(({ verbs, ...right }) => verbs.map((verb) => ({ ...right, verb })));
  const answers = await Promise.all(
    questions.map(async ({ group, resource, subresource, verb, isClusterWide }) => {
      const { status } = await cluster.authorization.createSelfSubjectAccessReview({
        body: {
          spec: {
            resourceAttributes: {
              group,
              resource,
              verb,
              ...(subresource === undefined ? {} : { subresource }),
              ...(isClusterWide === true ? {} : { namespace: cluster.namespace }),
            },
          },
        },
      });
      const what = subresource === undefined ? resource : `${resource}/${subresource}`;
      return status?.allowed === true ? [] : [`${verb} ${what}`];
    }),
  );
  const missing = answers.flat();
  if (missing.length === 0)
    return {
      ok: true,
      message: `all ${questions.length} that runners need, in namespace ${cluster.namespace}`,
    };
  return {
    ok: false,
    message: `this account may not, in namespace ${cluster.namespace}: ${missing.join(', ')}`,
    cure: `${granting}, or correct AGENTRUN_RUNTIME_NAMESPACE`,
  };
}

/**
 * A claim that is only tried out: the server checks size, access mode, quota and admission, and fills in its default class. Whether a class exists can be
 * asked by those only who may look at storage classes; a worker need not.
 */
async function lookAtVolumes(cluster: Cluster, wanted: KubernetesSettings['storage']): Promise<CheckFinding> {
  const variable = 'AGENTRUN_SESSION_STORAGE_CLASS';
  let className: string | undefined;
  try {
    const tried = await cluster.core.createNamespacedPersistentVolumeClaim({
      namespace: cluster.namespace,
      dryRun: 'All',
      body: {
        metadata: { generateName: 'agentrun-doctor-' },
        spec: {
          accessModes: [wanted.accessMode],
          resources: { requests: { storage: wanted.size } },
          ...(wanted.className === undefined ? {} : { storageClassName: wanted.className }),
        },
      },
    });
    className = tried.spec?.storageClassName;
  } catch (error) {
    if (!isRefused(error) && !hasStatus(error, 404)) throw error;
    const said = reasonOf(error);
    return {
      ok: false,
      message: `the cluster refuses a volume of ${wanted.size}: ${said}`,
      cure: said.includes('namespace')
        ? `make the namespace (kubectl create namespace ${cluster.namespace}), or correct AGENTRUN_RUNTIME_NAMESPACE`
        : 'raise the quota of the namespace, or correct AGENTRUN_SESSION_STORAGE_SIZE and AGENTRUN_SESSION_STORAGE_ACCESS_MODE',
    };
  }
  if (className === undefined || className === '')
    return {
      ok: false,
      message: 'the cluster has no default storage class',
      cure: `set ${variable} to one of: kubectl get storageclass`,
      variable,
    };
  try {
    const { provisioner } = await cluster.storage.readStorageClass({ name: className });
    return { ok: true, message: `class ${className} (${provisioner}), ${wanted.size}, ${wanted.accessMode}` };
  } catch (error) {
    if (!(error instanceof ApiException)) throw error;
    if (error.code === 403)
      return {
        ok: true,
        message: `class ${className}, ${wanted.size}, ${wanted.accessMode}; whether it exists this account may not ask`,
      };
    if (error.code !== 404) throw error;
    return {
      ok: false,
      message: `there is no storage class ${className}`,
      cure: `correct ${variable}: kubectl get storageclass lists them`,
      variable,
    };
  }
}
