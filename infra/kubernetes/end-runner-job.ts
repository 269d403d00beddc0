import { setTimeout as sleep } from 'node:timers/promises';
import { hasStatus, reasonOf } from './api-errors.js';
import type { Cluster } from './cluster.js';
import type { PodWatch } from './pod-watch.js';

/** A pod may take its own grace to end, and its node a while to say so (requirements.md A.2.b 24b). */
const marginMs = 30_000;
const defaultGraceMs = 60_000;
/** A node that does not answer is not waited for here: whoever asked asks again. */
const lostNodeMs = 3_000;
const lookEveryMs = 500;

/**
 * Deletes a runner's Job with its pods and answers when none of them is in the cluster any more: the one proof that no other process has the session's
 * thread open. A Job that is not there is as good as deleted. The watch wakes; the API server itself is asked.
 *
 * @throws Error that names the node and the cure when a pod does not go.
 */
export async function endRunnerJob(cluster: Cluster, watch: PodWatch, jobName: string): Promise<void> {
  const { namespace } = cluster;
  await ignoringAbsence(() =>
    cluster.batch.deleteNamespacedJob({ namespace, name: jobName, propagationPolicy: 'Foreground' }),
  );
  let wake: () => void = () => undefined;
  const unwatch = watch.watch(jobName, () => wake());
  const startedAtMs = performance.now();
  try {
    for (;;) {
      const left = await whatIsLeft(cluster, jobName);
      if (left === undefined) break;
      const waitedMs = performance.now() - startedAtMs;
      const node = (await watch.facts(jobName))?.node;
      const limitMs = node?.isReady === false ? lostNodeMs : left.graceMs + marginMs;
      if (waitedMs >= limitMs) throw new Error(notGone(jobName, left, node ?? null));
      await Promise.race([
        sleep(lookEveryMs),
        new Promise<void>((resolve) => {
          wake = resolve;
        }),
      ]);
    }
  } finally {
    unwatch();
  }
  // One without an owner, of a launch that was cut off before its Job was made.
  await ignoringAbsence(() => cluster.core.deleteNamespacedSecret({ namespace, name: jobName }));
}

interface Left {
  readonly podName: string | undefined;
  readonly nodeName: string | undefined;
  readonly graceMs: number;
}

async function whatIsLeft({ core, batch, namespace }: Cluster, jobName: string): Promise<Left | undefined> {
  const { items } = await core.listNamespacedPod({
    namespace,
    labelSelector: `batch.kubernetes.io/job-name=${jobName}`,
  });
  const [pod] = items;
  if (pod !== undefined)
    return {
      podName: pod.metadata?.name,
      nodeName: pod.spec?.nodeName,
      graceMs: (pod.spec?.terminationGracePeriodSeconds ?? defaultGraceMs / 1_000) * 1_000,
    };
  const job = await ignoringAbsence(() => batch.readNamespacedJob({ namespace, name: jobName }));
  return job === undefined ? undefined : { podName: undefined, nodeName: undefined, graceMs: defaultGraceMs };
}

function notGone(
  jobName: string,
  { podName, nodeName }: Left,
  node: { readonly name: string; readonly isReady: boolean } | null,
): string {
  if (podName === undefined)
    return `Job ${jobName} is deleted and does not go: look for a finalizer on it (kubectl get job ${jobName} -o yaml)`;
  if (node?.isReady === false)
    return (
      `pod ${podName} is on node ${node.name}, which does not answer, so it cannot be proven gone: bring the node back, or when it is certainly down ` +
      `taint it (kubectl taint node ${node.name} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute)`
    );
  return `pod ${podName} on node ${nodeName ?? '(none)'} is deleted and does not go: look at its finalizers and at the kubelet of its node`;
}

/** Undefined when the object is not there. */
async function ignoringAbsence<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw new Error(reasonOf(error));
  }
}
