import type { GoneCause, PodWait, ProcessFate } from '../supervision.js';
import { type EndedContainer, endOfContainer, endOfPod, isOutOfMemory } from './pod-end.js';
import type { ContainerFacts, ObjectEvent, PodFacts, PodState } from './pod-facts.js';
import { podLayout } from './pod-layout.js';

/** How long a pod may wait for what before it is given up, in milliseconds (decisions.md, Timeouts of a turn). */
export type PodGraces = Readonly<Record<PodWait, number>>;

const { supervisor, agentHost, prepare } = podLayout.containers;

/**
 * What became of a runner's pod, container by container in every phase of the pod: a sidecar that lives on keeps no runner alive, and one that was started
 * again has ended its attempt (architecture.md 7). The first matching row wins.
 *
 * | # | condition | fate |
 * |---|---|---|
 * | 1 | neither Job nor pod are in the cluster | gone |
 * | 2 | the supervisor has ended | gone, see {@link endOfContainer} |
 * | 3 | agent-host has ended, or was started again | gone, the same |
 * | 4 | prepare has failed | gone, the same |
 * | 5 | the pod has ended without a word of a container, or is gone | gone, see {@link endOfPod} |
 * | 6 | the supervisor runs | alive since then; with its node when that does not answer |
 * | 7 | the pod is to be deleted before its supervisor ran, or its Job has failed | gone |
 * | 8 | it waits for what will never come: an image's name or a pod that is not valid | gone |
 * | 9 | it has waited for longer than the grace of what it waits for | gone with what was missing |
 * | 10 | else | waiting, with the cluster's own words |
 */
export function podFate(facts: PodFacts, nowMs: number, graces: PodGraces): ProcessFate {
  const { job, pod } = facts;
  if (job === null && pod === null) return gone(null, 'its Job is not in the cluster');
  if (pod === null) return facts.podIsGone ? endOfPod(facts) : fateWithoutPod(facts, nowMs, graces);
  const ended = endedContainer(pod);
  if (ended !== undefined) return endOfContainer(ended, pod, facts);
  if (pod.phase === 'Failed' || pod.phase === 'Succeeded') return endOfPod(facts);
  const runningSinceMs = containerOf(pod, supervisor)?.runningSinceMs ?? null;
  const node = pod.nodeName === null ? {} : { node: pod.nodeName };
  const lostNode = facts.node?.isReady === false ? { lostNode: facts.node.name } : {};
  if (runningSinceMs !== null) return { state: 'alive', startedAtMs: runningSinceMs, ...node, ...lostNode };
  if (pod.isDeleting || job?.isDeleting === true || job?.failed != null) return endOfPod(facts);
  const fate = afterGrace(waitOf(pod, facts.events), nowMs, graces);
  return fate.state === 'waiting' ? { ...fate, ...node } : fate;
}

/** Rows 2 to 4. */
function endedContainer(pod: PodState): EndedContainer | undefined {
  const main = containerOf(pod, supervisor)?.ended;
  const host = containerOf(pod, agentHost);
  const hostEnd = host?.ended ?? host?.endedBefore;
  // The end of the agent's container is often why the supervisor ended: out of memory it says itself.
  const hostRanOut = hostEnd != null && isOutOfMemory(hostEnd);
  if (main != null && !hostRanOut) return { name: supervisor, end: main };
  if (hostEnd != null) return { name: agentHost, end: hostEnd };
  const first = containerOf(pod, prepare)?.ended;
  return first != null && first.exitCode !== 0 ? { name: prepare, end: first } : undefined;
}

const containerOf = (pod: PodState, name: string): ContainerFacts | undefined =>
  pod.containers.find((container) => container.name === name);

/** What a pod that does not run waits for. `givenUpAs`: what it is when that does not come in time. */
interface Wait {
  readonly for: PodWait;
  readonly sinceMs: number;
  readonly message: string;
  readonly givenUpAs: GoneCause;
  /** It will never come. */
  readonly isHopeless?: boolean;
  /** Of this wait where it is not that of its kind. */
  readonly graceOf?: PodWait;
}

/** The Job controller has made no pod: a quota, or an admission that refuses it, says why in an event of the Job. */
function fateWithoutPod({ job, events }: PodFacts, nowMs: number, graces: PodGraces): ProcessFate {
  if (job === null || job.isDeleting) return gone(null, 'its Job was deleted');
  if (job.failed !== null)
    return job.failed.reason === 'DeadlineExceeded'
      ? gone('deadline-exceeded', job.failed.message)
      : gone('evicted', `its pod was deleted, and its Job failed: ${job.failed.message}`);
  const refusal = newest(events, (event) => event.about === 'job' && event.reason === 'FailedCreate');
  const noPod = job.isSuspended ? 'its Job waits for its queue' : 'its pod has not been made yet';
  const message = refusal?.message ?? noPod;
  const isInvalid = refusal !== undefined && / is invalid: /.test(refusal.message);
  return afterGrace(
    {
      for: 'place',
      sinceMs: job.createdAtMs,
      message,
      givenUpAs: isInvalid ? 'invalid-pod' : 'unschedulable',
      isHopeless: isInvalid,
    },
    nowMs,
    graces,
  );
}

function waitOf(pod: PodState, events: readonly ObjectEvent[]): Wait {
  const { scheduled } = pod;
  if (scheduled === null || !scheduled.isDone) return waitForPlace(pod);
  const ofPod = events.filter((event) => event.about === 'pod');
  return (
    waitForImage(pod, ofPod, scheduled.sinceMs) ??
    waitForContainer(pod, scheduled.sinceMs) ??
    waitForVolume(pod, ofPod, scheduled.sinceMs) ?? {
      for: 'start',
      sinceMs: scheduled.sinceMs,
      message: startMessage(pod, ofPod),
      givenUpAs: null,
    }
  );
}

/** The scheduler names a volume that cannot be bound among the reasons for which a pod has no node. */
function waitForPlace({ scheduled, createdAtMs }: PodState): Wait {
  const message = scheduled?.message ?? '';
  // In a cluster of several zones most nodes are named for the volume, also where the others have no room.
  const isVolume =
    /persistentvolumeclaim|volume node affinity/i.test(message) && !otherObstacle.test(message);
  return {
    for: isVolume ? 'volume' : 'place',
    sinceMs: createdAtMs,
    message: message === '' ? 'the scheduler has not looked at its pod yet' : message,
    givenUpAs: isVolume ? 'storage-unavailable' : 'unschedulable',
  };
}

const otherObstacle = /insufficient|taint|selector|too many pods|free ports|unschedulable/i;

/** Reasons that a container waits with for an image that cannot be had. */
export const imageReasons: ReadonlySet<string> = new Set([
  'InvalidImageName',
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'ImageInspectError',
  'RegistryUnavailable',
  'SignatureValidationFailed',
]);

function waitForImage(
  pod: PodState,
  events: readonly ObjectEvent[],
  scheduledAtMs: number,
): Wait | undefined {
  const container = pod.containers.find(
    ({ waiting }) => waiting !== null && imageReasons.has(waiting.reason),
  );
  if (container?.waiting == null) return undefined;
  const { reason, message } = container.waiting;
  // The words of the pull itself; while the node backs off the container only says that it does.
  const failure = newest(events, isFailedPull);
  const firstFailure = events.find(isFailedPull);
  return {
    for: 'image',
    sinceMs: Math.max(scheduledAtMs, firstFailure?.firstAtMs ?? 0),
    message: `${reason}: ${reason === 'ImagePullBackOff' && failure !== undefined ? failure.message : message}`,
    givenUpAs: 'image-pull-failed',
    isHopeless: reason === 'InvalidImageName',
  };
}

const isFailedPull = ({ reason, message }: ObjectEvent): boolean =>
  reason === 'Failed' && message.startsWith('Failed to pull image');

const refusedReasons: ReadonlySet<string> = new Set([
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'CrashLoopBackOff',
]);

/** The node cannot make a container: a Secret may still come, so it has the grace of an image. */
function waitForContainer(pod: PodState, scheduledAtMs: number): Wait | undefined {
  const container = pod.containers.find(
    ({ waiting }) => waiting !== null && refusedReasons.has(waiting.reason),
  );
  if (container?.waiting == null) return undefined;
  const { reason, message } = container.waiting;
  return {
    for: 'start',
    sinceMs: scheduledAtMs,
    message: `container ${container.name}: ${reason}: ${message}`,
    givenUpAs: 'invalid-pod',
    graceOf: 'image',
  };
}

/** Before the first container: the node says in events what it cannot mount. A Secret that is missing is the pod's fault, not the volume's. */
function waitForVolume(
  pod: PodState,
  events: readonly ObjectEvent[],
  scheduledAtMs: number,
): Wait | undefined {
  const hasBegun = pod.containers.some(({ waiting }) => waiting === null);
  if (hasBegun) return undefined;
  const failure = newest(events, ({ reason }) => reason === 'FailedMount' || reason === 'FailedAttachVolume');
  if (failure === undefined) return undefined;
  const message = `${failure.reason}: ${failure.message}`;
  if (
    /(secret|configmap) "[^"]*" not found|references non-existent (secret|config) key/i.test(failure.message)
  )
    return {
      for: 'start',
      sinceMs: scheduledAtMs,
      message,
      givenUpAs: 'invalid-pod',
      graceOf: 'image',
    };
  return { for: 'volume', sinceMs: scheduledAtMs, message, givenUpAs: 'storage-unavailable' };
}

function startMessage(pod: PodState, events: readonly ObjectEvent[]): string {
  const node = pod.nodeName === null ? 'its node' : `node ${pod.nodeName}`;
  if (containerOf(pod, prepare)?.runningSinceMs != null) return `${prepare} fills the workspace on ${node}`;
  const pulling = newest(events, ({ reason }) => reason === 'Pulling' || reason === 'Pulled');
  if (pulling?.reason === 'Pulling') return `${node} pulls the image: ${pulling.message}`;
  return `${node} starts its containers`;
}

function afterGrace(wait: Wait, nowMs: number, graces: PodGraces): ProcessFate {
  const graceMs = graces[wait.graceOf ?? wait.for];
  if (wait.isHopeless === true) return gone(wait.givenUpAs, wait.message);
  if (nowMs - wait.sinceMs >= graceMs)
    return gone(wait.givenUpAs, `${wait.message} (waited for ${Math.round(graceMs / 1_000)} s)`);
  return { state: 'waiting', for: wait.for, sinceMs: wait.sinceMs, message: wait.message };
}

function newest(
  events: readonly ObjectEvent[],
  isMeant: (event: ObjectEvent) => boolean,
): ObjectEvent | undefined {
  let found: ObjectEvent | undefined;
  for (const event of events)
    if (isMeant(event) && (found === undefined || event.lastAtMs >= found.lastAtMs)) found = event;
  return found;
}

const gone = (cause: GoneCause, message: string): ProcessFate => ({ state: 'gone', cause, message });
