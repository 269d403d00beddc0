import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, connectCluster } from '../../infra/kubernetes/cluster.js';
import { runningCluster } from '../cluster/cluster.js';
import { importImage } from '../cluster/images.js';
import { defaultClusterFolder } from '../cluster/layout.js';
import { builtImages } from '../support/built-images.js';
import { createSession } from '../support/local-stack.js';
import { type PodStack, startPodStack } from '../support/pod-stack.js';
import { median, rounded } from './statistics.js';
import { timedTurn } from './timed-turn.js';

const rounds = 5;
/** After each sample: what a pod leaves to be done is not the next one's cost. */
const settleMs = 2_000;
const lookEveryMs = 20;
const startLimitMs = 60_000;
const prompt = 'measure [[scenario:echo]]';

/**
 * What the start of a runner costs over a bare Job of the same image: from the Job's creation until the run is claimed, against until the container of a
 * Job runs that has nothing to do and no volume. And the next turn of the session, on the warm runner: from its message to its end. In the cluster of
 * `npm run cluster:up`; sides interleaved, medians.
 */
export async function benchPod(): Promise<Record<string, unknown>> {
  const layout = runningCluster(defaultClusterFolder);
  if (layout === undefined) throw new Error('there is no cluster: npm run cluster:up');
  const { runner } = await builtImages();
  await importImage(layout, runner.archive);
  const { kubeconfig, hostAddress } = layout;
  const namespace = `bench-${randomBytes(4).toString('hex')}`;
  const cluster = connectCluster({ namespace, kubeconfig });
  await cluster.core.createNamespace({ body: { metadata: { name: namespace } } });
  const log = (line: string) => console.log(`  ${line}`);
  const pods = await startPodStack(log, { cluster, kubeconfig, hostAddress, image: runner.image });
  try {
    // Warms file caches of both sides; not counted.
    await bareMs(cluster, runner.image);
    await turns(pods);
    const bare: number[] = [];
    const ours: { readonly coldMs: number; readonly warmMs: number }[] = [];
    for (let round = 0; round < rounds; round += 1) {
      bare.push(await bareMs(cluster, runner.image));
      ours.push(await turns(pods));
    }
    const bareColdMs = median(bare);
    const oursColdMs = median(ours.map((sample) => sample.coldMs));
    const warmMs = median(ours.map((sample) => sample.warmMs));
    console.table(ours.map((sample, index) => ({ ...sample, bareColdMs: bare[index] })));
    return {
      ratio: { cold: rounded(oursColdMs / bareColdMs, 3) },
      overheadMs: rounded(oursColdMs - bareColdMs, 0),
      warmMs: rounded(warmMs, 0),
      rounds,
    };
  } finally {
    await pods.stop();
    await cluster.core.deleteNamespace({ name: namespace });
  }
}

/** From the creation of a Job until its container is seen to run or to have run. */
async function bareMs(cluster: Cluster, image: string): Promise<number> {
  const { namespace } = cluster;
  const name = `bare-${randomBytes(4).toString('hex')}`;
  const container = { name: 'bare', image, args: ['node', '-e', 'setTimeout(() => {}, 1_000)'] };
  const spec = { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers: [container] };
  const startedAt = performance.now();
  await cluster.batch.createNamespacedJob({
    namespace,
    body: { metadata: { name }, spec: { backoffLimit: 0, template: { spec } } },
  });
  const labelSelector = `batch.kubernetes.io/job-name=${name}`;
  while (performance.now() - startedAt < startLimitMs) {
    const { items } = await cluster.core.listNamespacedPod({ namespace, labelSelector });
    const state = items[0]?.status?.containerStatuses?.[0]?.state;
    if (state?.running !== undefined || state?.terminated !== undefined) {
      const elapsedMs = performance.now() - startedAt;
      await cluster.batch.deleteNamespacedJob({ namespace, name, propagationPolicy: 'Foreground' });
      await sleep(settleMs);
      return elapsedMs;
    }
    await sleep(lookEveryMs);
  }
  throw new Error(`the bare Job did not start within ${startLimitMs} ms`);
}

/** A session's first turn, in a pod of its own, and its second, which must not start one. */
async function turns({ local }: PodStack): Promise<{ readonly coldMs: number; readonly warmMs: number }> {
  const sessionId = await createSession(local);
  const { runId } = await timedTurn(local, sessionId, prompt);
  const { rows } = await local.db.query<{ cold_ms: number }>(
    `select (extract(epoch from a.claimed_at - j.created_at) * 1000)::float8 as cold_ms
     from runner_jobs j join attempts a using (run_id, epoch) where run_id = $1 and epoch = 1`,
    [runId],
  );
  const warm = await timedTurn(local, sessionId, prompt);
  const jobs = await local.db.query<{ reused: boolean }>('select reused from runner_jobs where run_id = $1', [
    warm.runId,
  ]);
  if (jobs.rows[0]?.reused !== true) throw new Error('the second turn started a pod');
  await sleep(settleMs);
  return { coldMs: rows[0]?.cold_ms ?? Number.NaN, warmMs: warm.elapsedMs };
}
