import { afterEach, describe, expect, it } from 'vitest';
import { routes } from '../../contract/routes/index.js';
import { useCluster } from '../support/cluster.js';
import { createSession, eventually, send } from '../support/local-stack.js';
import type { PodStack } from '../support/pod-stack.js';
import { endOfTurn } from './support/pod-turn.js';
import { prepareStackMs, startTestPodStack } from './support/test-pod-stack.js';

/** Pods for which the cluster has no image, no volume or no node: the turn ends with that as its kind, and in the cluster's own words. */
const cluster = await useCluster();
let pods: PodStack | undefined;
afterEach(async () => {
  await pods?.stop();
  pods = undefined;
});

interface Case {
  readonly name: string;
  readonly change: () => Partial<Parameters<typeof startTestPodStack>[2]>;
  readonly failureKind: string;
  /** In the words of the cluster. */
  readonly said: RegExp;
  /** The last one ends with its run. */
  readonly attempts: readonly (string | null)[];
}

const cases: readonly Case[] = [
  {
    name: 'unknown image',
    change: () => ({
      image: 'localhost/agentrun-runner:was-never-built',
      variables: { AGENTRUN_RUNNER_IMAGE_TIMEOUT_MS: '5000' },
    }),
    failureKind: 'image-pull-failed',
    said: /was-never-built/,
    attempts: [null],
  },
  {
    name: 'unbound volume',
    change: () => ({
      variables: {
        AGENTRUN_SESSION_STORAGE_CLASS: 'of-nobody',
        AGENTRUN_RUNNER_VOLUME_TIMEOUT_MS: '5000',
        AGENTRUN_RUNNER_PLACE_TIMEOUT_MS: '5000',
      },
    }),
    failureKind: 'storage-unavailable',
    said: /of-nobody|volume|claim/i,
    attempts: ['storage-unavailable', null],
  },
];

describe('a turn whose pod cannot start', () => {
  it.each(cases)('because of an $name ends with that', { timeout: prepareStackMs }, async (one) => {
    pods = await startTestPodStack(cluster, 'unstarted', one.change());
    const { local } = pods;
    const sessionId = await createSession(local, {
      executionPolicy: { maxAttempts: one.attempts.length, retryBackoffMs: 100 },
    });
    const { run } = await send(local, sessionId, 'never begun [[scenario:echo]]');
    await eventually('the diagnosis has the words of the cluster', async () => {
      const shown = await local.client.call(routes.getRunResult, { params: { runId: run.id } });
      return one.said.test(JSON.stringify(shown)) ? true : undefined;
    });
    const end = await endOfTurn(pods, sessionId, run.id);
    expect(end).toMatchObject({
      status: 'failed',
      failureKind: one.failureKind,
      attempts: one.attempts,
    });
    await eventually('no Job is left', async () => {
      const { items } = await (pods?.cluster.batch.listNamespacedJob({
        namespace: pods.cluster.namespace,
      }) ?? { items: [] });
      return items.length === 0 ? true : undefined;
    });
  });
});
