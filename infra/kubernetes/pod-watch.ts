import { components, labels, managedBy } from '../../domain/kubernetes/labels.js';
import type { JobState, ObjectEvent, PodFacts, PodState } from '../../domain/kubernetes/pod-facts.js';
import type { Logger } from '../telemetry/logger.js';
import type { Cluster } from './cluster.js';
import { parseEvent, parseJob, parseNode, parsePod } from './pod-schemas.js';
import { Reflection } from './reflection.js';

const resyncMs = 30_000;
const slowResyncMs = 60_000;
/** How long a question waits for the first list of a watch that has just begun. */
const firstListMs = 5_000;
/** Of one object; the newest are kept. */
const mostEvents = 32;

interface SeenPod {
  readonly jobName: string;
  readonly pod: PodState;
}
interface SeenJob {
  readonly name: string;
  readonly job: JobState;
}
interface SeenEvent {
  readonly name: string;
  readonly objectUid: string;
  readonly event: ObjectEvent;
}

/**
 * What the cluster knows about the runners of its namespace, held by one set of watches for all turns of the process: Jobs, pods, events about them, and
 * whether nodes are ready. Only labelled objects of ours, only the parts that are judged. A worker that may not look at nodes does without them.
 */
export class PodWatch {
  readonly #jobs: Reflection<SeenJob>;
  readonly #pods: Reflection<SeenPod>;
  readonly #events: Reflection<SeenEvent>;
  readonly #nodes: Reflection<{ name: string; isReady: boolean }>;
  readonly #podsOfJob = new Map<string, Map<string, PodState>>();
  readonly #eventsOfObject = new Map<string, Map<string, ObjectEvent>>();
  /** Jobs whose pod was seen and is not there any more. */
  readonly #bereft = new Set<string>();
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor({ config, namespace }: Cluster, logger: Pick<Logger, 'debug' | 'info' | 'warn'>) {
    const labelSelector = `${labels.managedBy}=${managedBy},${labels.component}=${components.runner}`;
    const of = encodeURIComponent(namespace);
    this.#jobs = new Reflection(
      config,
      {
        name: 'jobs',
        path: `/apis/batch/v1/namespaces/${of}/jobs`,
        labelSelector,
        resyncMs,
        parse: (object) => {
          const seen = parseJob(object);
          return seen && { key: seen.name, value: seen };
        },
      },
      logger,
      (job, former) => this.#onJob(job, former),
    );
    this.#pods = new Reflection(
      config,
      {
        name: 'pods',
        path: `/api/v1/namespaces/${of}/pods`,
        labelSelector,
        resyncMs,
        parse: (object) => {
          const seen = parsePod(object);
          return seen && { key: seen.pod.uid, value: seen };
        },
      },
      logger,
      (pod, former) => this.#onPod(pod, former),
    );
    this.#events = new Reflection(
      config,
      {
        name: 'events',
        path: `/api/v1/namespaces/${of}/events`,
        resyncMs: slowResyncMs,
        parse: (object) => {
          const seen = parseEvent(object);
          return seen && { key: seen.name, value: seen };
        },
      },
      logger,
      (event, former) => this.#onEvent(event, former),
    );
    this.#nodes = new Reflection(
      config,
      {
        name: 'nodes',
        path: '/api/v1/nodes',
        resyncMs: slowResyncMs,
        parse: (object) => {
          const node = parseNode(object);
          return node && { key: node.name, value: node };
        },
      },
      logger,
      (node, former) => {
        if (node?.isReady !== former?.isReady) this.#ring((node ?? former)?.name);
      },
    );
  }

  /** Begins to look in the background. */
  start(): void {
    for (const reflection of this.#all()) reflection.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all().map((reflection) => reflection.stop()));
  }

  /** What was seen last of a runner; undefined while nothing could be looked at yet. */
  async facts(jobName: string): Promise<PodFacts | undefined> {
    await Promise.all(this.#all().map((reflection) => reflection.whenListed(firstListMs)));
    if (!this.#jobs.isListed || !this.#pods.isListed) return undefined;
    const job = this.#jobs.get(jobName)?.job ?? null;
    const pod = this.#podOf(jobName);
    return {
      job,
      pod,
      podIsGone: this.#bereft.has(jobName),
      node: this.#nodeOf(pod),
      events: [job?.uid, pod?.uid].flatMap((uid) => [
        ...(this.#eventsOfObject.get(uid ?? '')?.values() ?? []),
      ]),
    };
  }

  /** Calls `onChange` after each change of the runner's objects until the returned function is called. It must not throw. */
  watch(jobName: string, onChange: () => void): () => void {
    const watchers = this.#watchers.get(jobName) ?? new Set();
    // Its own function, so that the same callback may watch twice.
    const watcher = () => onChange();
    watchers.add(watcher);
    this.#watchers.set(jobName, watchers);
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.#watchers.get(jobName) === watchers) this.#watchers.delete(jobName);
    };
  }

  #all(): readonly Pick<Reflection<unknown>, 'start' | 'stop' | 'whenListed'>[] {
    return [this.#jobs, this.#pods, this.#events, this.#nodes];
  }

  /** The newest: a Job has one, unless somebody else makes more. */
  #podOf(jobName: string): PodState | null {
    let found: PodState | null = null;
    for (const pod of this.#podsOfJob.get(jobName)?.values() ?? [])
      if (found === null || pod.createdAtMs >= found.createdAtMs) found = pod;
    return found;
  }

  #nodeOf(pod: PodState | null): PodFacts['node'] {
    if (pod?.nodeName == null || !this.#nodes.isListed) return null;
    return this.#nodes.get(pod.nodeName) ?? { name: pod.nodeName, isReady: false };
  }

  #onJob(job: SeenJob | undefined, former: SeenJob | undefined): void {
    const name = (job ?? former)?.name;
    if (name === undefined) return;
    if (job === undefined) this.#bereft.delete(name);
    this.#notify(name);
  }

  #onPod(seen: SeenPod | undefined, former: SeenPod | undefined): void {
    const { jobName, pod } = seen ?? former ?? {};
    if (jobName === undefined || pod === undefined) return;
    const pods = this.#podsOfJob.get(jobName) ?? new Map<string, PodState>();
    if (seen === undefined) {
      pods.delete(pod.uid);
      if (this.#jobs.get(jobName) !== undefined) this.#bereft.add(jobName);
    } else pods.set(pod.uid, pod);
    if (pods.size === 0) this.#podsOfJob.delete(jobName);
    else this.#podsOfJob.set(jobName, pods);
    this.#notify(jobName);
  }

  #onEvent(seen: SeenEvent | undefined, former: SeenEvent | undefined): void {
    const { objectUid, name, event } = seen ?? former ?? {};
    if (objectUid === undefined || name === undefined || event === undefined) return;
    const events = this.#eventsOfObject.get(objectUid) ?? new Map<string, ObjectEvent>();
    events.delete(name);
    if (seen !== undefined) events.set(name, event);
    const [oldest] = events.keys();
    if (events.size > mostEvents && oldest !== undefined) events.delete(oldest);
    if (events.size === 0) this.#eventsOfObject.delete(objectUid);
    else this.#eventsOfObject.set(objectUid, events);
    for (const [jobName] of this.#watchers)
      if (this.#jobs.get(jobName)?.job.uid === objectUid || this.#podOf(jobName)?.uid === objectUid)
        this.#notify(jobName);
  }

  /** A node became ready, or is not any more. */
  #ring(nodeName: string | undefined): void {
    for (const jobName of this.#watchers.keys())
      if (this.#podOf(jobName)?.nodeName === nodeName) this.#notify(jobName);
  }

  #notify(jobName: string): void {
    for (const watcher of this.#watchers.get(jobName) ?? []) watcher();
  }
}
