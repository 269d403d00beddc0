import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../contract/json.js';
import type { LaunchSpec, PrepareSpec } from '../../contract/runners.js';
import { type JobInput, jobInputProblems, jobManifest } from '../../domain/kubernetes/job-manifest.js';
import { components, labels, managedBy } from '../../domain/kubernetes/labels.js';
import { jobOwner, launchSecretManifest } from '../../domain/kubernetes/launch-secret.js';
import type { PodFacts } from '../../domain/kubernetes/pod-facts.js';
import { type PodGraces, podFate } from '../../domain/kubernetes/pod-fate.js';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import type { ProcessFate } from '../../domain/supervision.js';
import type { KubernetesSettings } from '../config/kubernetes-settings.js';
import { hasStatus, reasonOf } from '../kubernetes/api-errors.js';
import type { Cluster } from '../kubernetes/cluster.js';
import { endRunnerJob } from '../kubernetes/end-runner-job.js';
import type { PodOptionsOf } from '../kubernetes/pod-options.js';
import { parseJob } from '../kubernetes/pod-schemas.js';
import type { PodWatch } from '../kubernetes/pod-watch.js';
import { collectDiagnostics } from '../kubernetes/runner-diagnostics.js';
import { PrerequisiteError } from '../workspace/prepare-workspace.js';
import { launchSpecOf, type ToldToRunners } from './launch-spec.js';
import { type Launcher, LaunchRefusedError, type RunnerLaunch } from './launcher.js';

/** How long the containers of a pod that has its node may take to begin: prepare fills the workspace in this time (requirements.md A.2.c 28). */
const startGraceMs = 600_000;

/** Phases of a pod in which none of its containers runs. */
const endedPhases: ReadonlySet<string> = new Set(['Succeeded', 'Failed']);
/** A supervising activity has to heartbeat meanwhile. */
const longestQuestionMs = 3_000;

export interface KubernetesLauncherSettings extends ToldToRunners {
  readonly cluster: KubernetesSettings;
  readonly pods: PodOptionsOf;
  readonly provider: Omit<LaunchSpec['provider'], 'keyFile'>;
  readonly bootRepositoryUrl: string | undefined;
  readonly logLevel: string;
  /** Life of a runner, in milliseconds. */
  readonly runnerLifeMs: number;
}

/** Runs a runner as a Job with one pod (architecture.md 7). What became of it the watch tells, which all turns of the process share. */
export class KubernetesLauncher implements Launcher {
  readonly kind = 'kubernetes';
  readonly #cluster: Cluster;
  readonly #watch: PodWatch;
  readonly #settings: KubernetesLauncherSettings;
  readonly #graces: PodGraces;

  constructor(cluster: Cluster, watch: PodWatch, settings: KubernetesLauncherSettings) {
    this.#cluster = cluster;
    this.#watch = watch;
    this.#settings = settings;
    this.#graces = { ...settings.cluster.graceMs, start: startGraceMs };
  }

  /** See Launcher. The Secret comes first: a Job whose Secret is not there could not begin. Both may be there from a launch that was cut off. */
  async launch(launch: RunnerLaunch, signal: AbortSignal): Promise<void> {
    const input = this.#jobInput(launch);
    const [problem] = jobInputProblems(input);
    if (problem !== undefined) throw new PrerequisiteError(problem);
    signal.throwIfAborted();
    await this.#makeSecret(launch, input);
    const uid = await this.#makeJob(input);
    await this.#giveSecretToJob(input.name, uid);
  }

  /** See Launcher. A pod has its own grace for ending (`terminationGraceSeconds` of its options). */
  async stop(jobName: string): Promise<void> {
    await endRunnerJob(this.#cluster, this.#watch, jobName);
  }

  /** See Launcher. A Job that has finished stays for a while, for whoever wants to look at it; the cluster removes it then. */
  async retire(jobName: string): Promise<boolean> {
    const { namespace } = this.#cluster;
    const pod = (await this.#watch.facts(jobName))?.pod;
    // One container may have ended before the others.
    if (pod === undefined || (pod !== null && !endedPhases.has(pod.phase))) return false;
    const seconds = Math.round(this.#settings.cluster.finishedTtlMs / 1_000);
    try {
      await this.#cluster.batch.patchNamespacedJob({
        namespace,
        name: jobName,
        body: [{ op: 'add', path: '/spec/ttlSecondsAfterFinished', value: seconds }],
      });
    } catch (error) {
      if (!hasStatus(error, 404)) throw new Error(`Job ${jobName}: ${reasonOf(error)}`);
    }
    return true;
  }

  /** See Launcher. */
  diagnostics(jobName: string): Promise<JsonObject | undefined> {
    return collectDiagnostics(this.#cluster, this.#watch, jobName);
  }

  /** See Launcher. What the watch does not know is asked for: a Job may be younger than what was heard of it. */
  async fate(jobName: string): Promise<ProcessFate> {
    const seen = await this.#watch.facts(jobName);
    if (seen === undefined) return { state: 'unknown' };
    const facts = seen.job === null && seen.pod === null ? await this.#askedInTime(jobName, seen) : seen;
    return facts === undefined ? { state: 'unknown' } : podFate(facts, Date.now(), this.#graces);
  }

  /** See Launcher. */
  watch(jobName: string, onChange: () => void): () => void {
    return this.#watch.watch(jobName, onChange);
  }

  /** Undefined: the API server cannot tell, or not in time. */
  async #askedInTime(jobName: string, seen: PodFacts): Promise<PodFacts | undefined> {
    const limit = new AbortController();
    const late = sleep(longestQuestionMs, undefined, { signal: limit.signal }).catch(() => undefined);
    try {
      return await Promise.race([this.#asked(jobName, seen), late]);
    } finally {
      limit.abort();
    }
  }

  /** Undefined: the API server cannot tell. */
  async #asked(jobName: string, seen: PodFacts): Promise<PodFacts | undefined> {
    const { namespace } = this.#cluster;
    try {
      const found = await this.#cluster.batch.readNamespacedJob({ namespace, name: jobName });
      // Through JSON: the client makes dates of times, a watch tells texts.
      const job = parseJob(JSON.parse(JSON.stringify(found)))?.job;
      return job === undefined ? undefined : { ...seen, job };
    } catch (error) {
      return hasStatus(error, 404) ? seen : undefined;
    }
  }

  #jobInput(launch: RunnerLaunch): JobInput {
    const { cluster, pods, logLevel, runnerLifeMs } = this.#settings;
    if (launch.volumeName === null)
      throw new PrerequisiteError(
        `session ${launch.sessionId} has no volume: AGENTRUN_LAUNCHER=kubernetes goes with AGENTRUN_SESSION_STORAGE=pvc, for API and worker`,
      );
    return {
      name: launch.jobName,
      namespace: this.#cluster.namespace,
      image: cluster.image,
      imagePullPolicy: cluster.imagePullPolicy,
      serviceAccount: cluster.serviceAccount,
      healthPort: cluster.healthPort,
      providerSecret: cluster.providerSecret,
      volumeClaim: launch.volumeName,
      runId: launch.runId,
      epoch: launch.epoch,
      sessionId: launch.sessionId,
      tenantId: launch.tenantId,
      logLevel,
      lifeMs: runnerLifeMs,
      origin: cluster.origin,
      pod: pods(launch.backendProfile),
    };
  }

  async #makeSecret(launch: RunnerLaunch, { name, namespace, runId, epoch }: JobInput): Promise<void> {
    const body = launchSecretManifest({
      name,
      namespace,
      labels: {
        [labels.managedBy]: managedBy,
        [labels.component]: components.runner,
        [labels.run]: runId,
        [labels.epoch]: String(epoch),
      },
      launch: JSON.stringify(this.#launchSpec(launch)),
      prepare: JSON.stringify(this.#prepareSpec(launch)),
    });
    try {
      await this.#cluster.core.createNamespacedSecret({ namespace, body });
    } catch (error) {
      // That of a launch that was cut off: its token is good as well.
      if (!hasStatus(error, 409)) throw refusalOf(`Secret ${name}`, error);
    }
  }

  /** Answers the Job's uid. */
  async #makeJob(input: JobInput): Promise<string> {
    const { name, namespace } = input;
    try {
      const made = await this.#cluster.batch.createNamespacedJob({ namespace, body: jobManifest(input) });
      return made.metadata?.uid ?? '';
    } catch (error) {
      if (hasStatus(error, 409)) {
        const found = await this.#cluster.batch.readNamespacedJob({ namespace, name });
        return found.metadata?.uid ?? '';
      }
      const refusal = refusalOf(`Job ${name}`, error);
      // What is refused for good leaves nothing behind; else the next try goes on.
      if (refusal instanceof LaunchRefusedError)
        await this.#cluster.core.deleteNamespacedSecret({ namespace, name }).catch(() => undefined);
      throw refusal;
    }
  }

  async #giveSecretToJob(name: string, uid: string): Promise<void> {
    const { namespace } = this.#cluster;
    try {
      await this.#cluster.core.patchNamespacedSecret({
        namespace,
        name,
        body: [{ op: 'add', path: '/metadata/ownerReferences', value: [jobOwner({ name, uid })] }],
      });
    } catch (error) {
      // Somebody has ended the Job meanwhile, and its Secret with it.
      if (!hasStatus(error, 404)) throw new Error(`Secret ${name}: ${reasonOf(error)}`);
    }
  }

  #launchSpec(launch: RunnerLaunch): LaunchSpec {
    const { paths } = podLayout;
    return launchSpecOf(launch, this.#settings, {
      agentHostSocket: paths.socket,
      workspaceDirectory: paths.workspace,
      agentHomeDirectory: paths.agentHome,
      supervisorDirectory: paths.supervisor,
      measuredDirectory: paths.agent,
      provider: { ...this.#settings.provider, keyFile: paths.providerKeyFile },
    });
  }

  #prepareSpec({ sessionId, workspace }: RunnerLaunch): PrepareSpec {
    return { sessionId, workspace, defaultRepository: this.#settings.bootRepositoryUrl ?? null };
  }
}

/**
 * What the API server said, as a refusal where asking again changes nothing. A quota and an admission that forbid it may let it pass later: then the turn's
 * workflow tries again (decisions.md, `unschedulable`).
 */
function refusalOf(what: string, error: unknown): Error {
  const message = `${what}: ${reasonOf(error)}`;
  // An admission policy that gives no reason of its own refuses with 422, as a pod that cannot be read is.
  if (hasStatus(error, 422) && /ValidatingAdmissionPolicy|admission webhook/.test(message))
    return new LaunchRefusedError('unschedulable', message);
  if (hasStatus(error, 400, 413, 422)) return new LaunchRefusedError('invalid-pod', message);
  if (hasStatus(error, 403) && /quota|admission|denied|violates/i.test(message))
    return new LaunchRefusedError('unschedulable', message);
  if (hasStatus(error, 401, 403)) return new LaunchRefusedError('prerequisite-failed', message);
  return new Error(message);
}
