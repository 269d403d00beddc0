import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { packageRoot } from '../infra/config/package-root.js';
import type { RunnerSettings, WorkerConfig } from '../infra/config/worker-config.js';
import { type Cluster, connectCluster } from '../infra/kubernetes/cluster.js';
import { type PodOptionsOf, readPodOptions } from '../infra/kubernetes/pod-options.js';
import { PodWatch } from '../infra/kubernetes/pod-watch.js';
import { ExternalLauncher } from '../infra/launchers/external-launcher.js';
import { KubernetesLauncher } from '../infra/launchers/kubernetes-launcher.js';
import type { Launcher } from '../infra/launchers/launcher.js';
import { ProcessLauncher } from '../infra/launchers/process-launcher.js';
import { DirectoryStorage } from '../infra/storage/directory-storage.js';
import type { SessionStorage } from '../infra/storage/session-storage.js';
import { VolumeStorage } from '../infra/storage/volume-storage.js';
import type { Logger } from '../infra/telemetry/logger.js';
import { directories, type StoragePlace } from '../store/storage-place.js';
import { volumeClaimName } from '../store/volume-names.js';

/** Life of a runner (decisions.md, Auth). */
export const runnerLifeMs = 86_400_000;

/** Where runners and the files of sessions are: on this machine or in a cluster (architecture.md 7a). */
export interface RunnerSide {
  readonly launcher: Launcher;
  readonly storage: SessionStorage;
  /** What a runner was started with, as a hash: another image, model, provider or size makes another. */
  readonly fingerprintOf: (backendProfile: string) => string;
  /** Where the files of sessions are to live that a message makes. */
  readonly newSessions: StoragePlace;
  /** The cluster of the runners; undefined: this machine. */
  readonly cluster: Cluster | undefined;
  stop(): Promise<void>;
}

/** @throws ConfigurationError when the file with the options of pods is wrong. */
export function createRunnerSide(config: WorkerConfig, logger: Logger): RunnerSide {
  const { runners } = config;
  switch (runners.launcher) {
    case 'external':
      return local(config, new ExternalLauncher(config.dataDir), () => 'external');
    case 'process':
      return local(
        config,
        new ProcessLauncher({
          ...toldToRunners(config),
          dataDir: config.dataDir,
          provider: runners.provider,
        }),
        (backendProfile) => {
          const { baseUrl, model, keyFile } = runners.provider;
          // The file's time stands for the credential's generation: a runner with a former key is not handed another turn.
          return hashOf([backendProfile, baseUrl, model, packageRoot(), statSync(keyFile).mtimeMs]);
        },
      );
    case 'kubernetes':
      return inCluster(config, runners, logger);
  }
}

function local(
  config: WorkerConfig,
  launcher: Launcher,
  fingerprintOf: RunnerSide['fingerprintOf'],
): RunnerSide {
  const storage = new DirectoryStorage(config.dataDir);
  const newSessions = directories;
  return { launcher, storage, newSessions, fingerprintOf, cluster: undefined, stop: () => Promise.resolve() };
}

function inCluster(
  config: WorkerConfig,
  { cluster: settings, provider }: Extract<RunnerSettings, { launcher: 'kubernetes' }>,
  logger: Logger,
): RunnerSide {
  const pods: PodOptionsOf = readPodOptions(settings.podFile);
  const cluster = connectCluster(settings);
  const watch = new PodWatch(cluster, logger);
  watch.start();
  const launcher = new KubernetesLauncher(cluster, watch, {
    ...toldToRunners(config),
    cluster: settings,
    pods,
    provider,
    runnerLifeMs,
  });
  const storage = new VolumeStorage({ cluster, claims: settings.storage, claimName: volumeClaimName });
  return {
    launcher,
    storage,
    newSessions: { backend: 'pvc', namespace: cluster.namespace },
    // The credential's generation is the operator's to raise: with another name of the Secret.
    fingerprintOf: (backendProfile) =>
      hashOf([
        backendProfile,
        provider.baseUrl,
        provider.model,
        settings.image,
        settings.providerSecret,
        pods(backendProfile),
      ]),
    cluster,
    stop: () => watch.stop(),
  };
}

const toldToRunners = (config: WorkerConfig) => ({
  managerUrl: config.manager.url,
  managerUrlVariable: config.manager.variable,
  bootRepositoryUrl: config.bootRepositoryUrl,
  logLevel: config.logLevel,
  otlpEndpoint: config.otlpEndpoint ?? null,
});

const hashOf = (marks: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(marks)).digest('hex').slice(0, 32);
