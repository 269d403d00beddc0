import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clusterDown } from '../cluster/cluster.js';
import { defaultClusterFolder } from '../cluster/layout.js';
import { useCluster } from '../support/cluster.js';
import { eventually } from '../support/local-stack.js';
import type { PodStack } from '../support/pod-stack.js';
import { release } from '../support/scripted-control.js';
import { endOfTurn, goesOnInNewPod, heldAfterFile, podOfSession } from './support/pod-turn.js';
import { prepareStackMs, startTestPodStack } from './support/test-pod-stack.js';

/**
 * A node that falls silent and an API server that goes away, in a cluster of its own: nobody else's pods are to be lost. API and worker are on this machine,
 * since a stopped kubelet takes the endpoints of all Services of the one node away.
 */
const folder = `${defaultClusterFolder}-faults`;
// After everything else, the removal of the namespaces included.
afterAll(async () => {
  await clusterDown(folder);
}, 120_000);
const cluster = await useCluster(folder);
const { own } = cluster;
let pods: PodStack;

beforeAll(async () => {
  pods = await startTestPodStack(cluster, 'node');
}, prepareStackMs);
afterAll(async () => {
  await pods?.stop();
});

/** The grace of the cluster's node is 10 s. */
const nodeLostMs = 60_000;

async function nodeIsLost(): Promise<void> {
  await eventually(
    'the node counts as lost',
    async () => {
      const { items } = await pods.cluster.core.listNode();
      const ready = items[0]?.status?.conditions?.find(({ type }) => type === 'Ready');
      return ready?.status === 'True' ? undefined : true;
    },
    nodeLostMs,
    500,
  );
}

describe.runIf(own !== undefined)('a turn in a pod', () => {
  it('completes in its only attempt while the API server is started again', async () => {
    const held = await heldAfterFile(pods, 'api-server');
    await own?.stopApiServer();
    await release(pods.local, 'api-server');
    await own?.startApiServer();
    const end = await endOfTurn(pods, held.sessionId, held.runId);
    expect(end).toMatchObject({ status: 'completed', attempts: [null], threadId: held.threadId });
    expect((await podOfSession(pods.cluster, held.sessionId)).name).toBe(held.pod.name);
  });

  it('completes in its only attempt while the kubelet is silent and the runner lives', async () => {
    const held = await heldAfterFile(pods, 'silent');
    await own?.stopKubelet();
    try {
      await nodeIsLost();
      await release(pods.local, 'silent');
      const end = await endOfTurn(pods, held.sessionId, held.runId);
      expect(end).toMatchObject({ status: 'completed', attempts: [null], threadId: held.threadId });
    } finally {
      await own?.startKubelet();
    }
  });

  it('ends its attempt as node-lost when the containers are gone too, and goes on once the node is back', async () => {
    const held = await heldAfterFile(pods, 'lost');
    await own?.stopKubelet();
    let begunBefore: unknown[] = [];
    try {
      await own?.killContainers({ namespace: pods.cluster.namespace, name: held.pod.name });
      await nodeIsLost();
      await eventually(
        'the attempt ends as node-lost',
        async () => {
          const { rows } = await pods.local.db.query(
            `select 1 from attempts where run_id = $1 and end_failure_kind = 'node-lost'`,
            [held.runId],
          );
          return rows.length > 0 ? true : undefined;
        },
        // Lease and 15 s, from when the containers were killed.
        90_000,
      );
      const { rows } = await pods.local.db.query('select 1 from attempts where run_id = $1 and epoch = 2', [
        held.runId,
      ]);
      begunBefore = rows;
    } finally {
      await own?.startKubelet();
    }
    expect(begunBefore).toEqual([]);
    await goesOnInNewPod(pods, held, ['node-lost', null]);
  });
});
