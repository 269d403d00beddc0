import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createApiClient } from '../../client/index.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { readStackConfig } from '../../infra/config/stack-config.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput } from '../output.js';
import { type Stack, startStack } from '../stack/start-stack.js';
import { type DemoCluster, kubectl, provideImages, readDemoCluster } from './demo-cluster.js';
import { overlayApiUrl, writeKubernetesOverlay } from './kubernetes-overlay.js';
import { playDemo, sampleRepository } from './play-demo.js';
import { type ServedRepository, serveRepository } from './served-repository.js';

const reachableLimitMs = 60_000;

/**
 * `agentrun demo --kubernetes`: Postgres, Temporal and the scripted model on this machine, everything else as deploy/kubernetes makes it in the test
 * cluster; then the same task as the local demo, done by a real Codex in a real pod. Takes away what it made.
 *
 * @returns 0 only if the turn completed and the steer is in the transcript.
 */
export async function runKubernetesDemo(options: { keep: boolean }): Promise<number> {
  // The model is the scripted one also where a key of a real one is set: only that one is sure to be reached from a pod.
  const config = { ...readStackConfig(), provider: noProvider };
  const output = createOutput(false);
  const print = (line: string) => output.line(line);
  const log = (line: string) => print(`  ${line}`);
  const cluster = readDemoCluster(config.clusterFolder);
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error('stopped by a signal'));
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  const folder = mkdtempSync(join(tmpdir(), 'agentrun-demo-'));
  // Postgres may run as another user, who has to pass through.
  chmodSync(folder, 0o711);
  let stack: Stack | undefined;
  let repository: ServedRepository | undefined;
  try {
    print('Images of API, worker and runner …');
    const images = await provideImages(cluster, log);
    print(`Postgres, Temporal and the model at ${cluster.hostAddress}, where pods reach this machine …`);
    const dataDir = join(folder, 'data');
    const parts = ['scripted-model'] as const;
    const { signal } = stop;
    stack = await startStack({
      config,
      dataDir,
      parts,
      host: cluster.hostAddress,
      ports: 'any',
      log,
      signal,
    });
    repository = await serveRepository(sampleRepository(), cluster.hostAddress);
    print('AgentRun in the cluster …');
    const overlay = writeOverlay(join(folder, 'overlay'), cluster, stack, images);
    await apply(cluster, overlay.folder, log);
    const token = readFileSync(stack.apiTokenFile, 'utf8').trim();
    const apiUrl = overlayApiUrl(overlay);
    await untilReady(apiUrl, signal);
    print(`\n  API          ${apiUrl}\n  Temporal UI  ${stack.temporalUiUrl}\n`);
    const succeeded = await playDemo({
      client: createApiClient({ baseUrl: apiUrl, token: () => token }),
      isScripted: stack.scriptedUrl !== null,
      temporalUiUrl: stack.temporalUiUrl,
      workspace: { repository: repository.url },
      output,
      signal,
    });
    print('\nPods of runners:');
    await kubectl(cluster, ['get', 'pods', '-n', runnerNamespace, '-o', 'wide'], log);
    if (options.keep && !signal.aborted) {
      print('\nEverything stays up (--keep). Ctrl-C stops it.');
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
    return succeeded ? exitCodes.ok : exitCodes.failed;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    if (repository !== undefined) {
      print('Taking it away …');
      await remove(cluster).catch((error: unknown) => print(`  ${String(error)}`));
    }
    await repository?.stop();
    await stack?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const noProvider = { key: undefined, baseUrl: undefined, model: undefined };
const namespace = 'agentrun';
const runnerNamespace = 'agentrun-v01';

function writeOverlay(
  folder: string,
  cluster: DemoCluster,
  stack: Stack,
  images: Awaited<ReturnType<typeof provideImages>>,
) {
  const { paths } = stack;
  const read = (file: string) => readFileSync(file, 'utf8').trim();
  const token = { name: 'demo', token: read(paths.apiTokenFile), scopes: ['read', 'operate', 'admin'] };
  const overlay = {
    folder,
    packageRoot: packageRoot(),
    hostAddress: cluster.hostAddress,
    temporalPort: stack.ports.temporal,
    providerBaseUrl: `${stack.scriptedUrl ?? ''}/v1`,
    apiClusterIp: fixedServiceAddress(cluster),
    images,
    secrets: {
      databaseUrl: read(paths.databaseUrlFile),
      runnerKeys: read(paths.runnerKeysFile),
      apiTokens: JSON.stringify([token]),
      webhookKey: read(paths.webhookKeyFile),
      providerKey: read(paths.providerKeyFile),
    },
  };
  writeKubernetesOverlay(overlay);
  return overlay;
}

/** One of the first 16 addresses of Services, which the cluster gives to nobody by itself. */
const fixedServiceAddress = ({ serviceRange }: DemoCluster): string =>
  serviceRange.replace(/\.\d+\/\d+$/, '.10');

async function apply(cluster: DemoCluster, folder: string, log: (line: string) => void): Promise<void> {
  // What a demo that was killed has left: its addresses and secrets are of no use any more.
  await remove(cluster);
  await kubectl(cluster, ['apply', '--server-side', '-k', folder]);
  for (const name of ['agentrun-api', 'agentrun-worker'])
    await kubectl(
      cluster,
      ['rollout', 'status', `deployment/${name}`, '-n', namespace, '--timeout=240s'],
      log,
    );
}

async function remove(cluster: DemoCluster): Promise<void> {
  const names = [namespace, runnerNamespace];
  await kubectl(cluster, ['delete', 'namespace', ...names, '--ignore-not-found', '--timeout=120s']);
  // What belongs to no namespace.
  const others = [
    'clusterrole/agentrun-worker-nodes',
    'clusterrolebinding/agentrun-worker-nodes',
    'validatingadmissionpolicybinding/agentrun-runners',
    'validatingadmissionpolicy/agentrun-runners',
  ];
  await kubectl(cluster, ['delete', ...others, '--ignore-not-found', '--timeout=60s']);
}

/** The pods are ready a moment before the Service's address leads to them. */
async function untilReady(apiUrl: string, signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.timeout(reachableLimitMs);
  for (;;) {
    const answer = await fetch(`${apiUrl}/health/readiness`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]),
    }).catch(() => undefined);
    if (answer?.status === 200) return;
    signal.throwIfAborted();
    if (deadline.aborted) throw new Error(`the API does not answer at ${apiUrl}`);
    await sleep(250);
  }
}
