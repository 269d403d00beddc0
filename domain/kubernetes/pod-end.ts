import type { GoneCause, ProcessFate } from '../supervision.js';
import type { ContainerEnd, PodFacts, PodState } from './pod-facts.js';
import { podLayout } from './pod-layout.js';

/** The container whose end ended the runner. */
export interface EndedContainer {
  readonly name: string;
  readonly end: ContainerEnd;
}

type Gone = Extract<ProcessFate, { state: 'gone' }>;

/**
 * What supervisor and prepare say with when they cannot begin: a cause that no retry changes (requirements.md A.2.b 18). 5: the API refused the launch token
 * (runner/supervisor/supervisor.ts).
 */
const prerequisiteExitCodes: readonly number[] = [2, 5];
/** Who ends pods of a node that is lost. */
const lostNodeReasons: ReadonlySet<string> = new Set(['DeletionByTaintManager', 'DeletionByPodGC']);
/** 128 and the number of SIGKILL. */
const killedExitCode = 137;
const longestMessage = 1_000;

/**
 * Why a container ended. The first matching row wins.
 *
 * | # | condition | cause |
 * |---|---|---|
 * | 1 | `OOMKilled`, see {@link isOutOfMemory} | oom-killed |
 * | 2 | its pod or Job exceeded its deadline | deadline-exceeded |
 * | 3 | the cluster ended its pod because the node is lost | node-lost |
 * | 4 | the cluster ended its pod otherwise: eviction, drain, preemption, shutdown of the node | evicted |
 * | 5 | its node killed it because a probe failed | unhealthy |
 * | 6 | exit code 2 of supervisor or prepare, 5 of the supervisor | prerequisite-failed |
 * | 7 | somebody deleted its pod | evicted |
 * | 8 | else | none known |
 */
export function endOfContainer({ name, end }: EndedContainer, pod: PodState, facts: PodFacts): Gone {
  if (isOutOfMemory(end)) return gone('oom-killed', `container ${name} used up its memory`);
  const byCluster = endByCluster(pod, facts);
  if (byCluster !== undefined) return byCluster;
  const unhealthy = failedProbe(name, end, facts);
  if (unhealthy !== undefined) return gone('unhealthy', unhealthy);
  // The agent may write what agent-host is to have said.
  const said = name === podLayout.containers.agentHost ? '' : end.message.trim().slice(0, longestMessage);
  if (prerequisiteExitCodes.includes(end.exitCode) && name !== podLayout.containers.agentHost)
    return gone('prerequisite-failed', said === '' ? `${name} refused to begin` : said);
  if (pod.isDeleting) return gone('evicted', 'its pod was deleted');
  const reason = end.reason === '' || end.reason === 'Error' ? '' : ` (${end.reason})`;
  const words = said === '' ? '' : `: ${said}`;
  return gone(null, `container ${name} ended with exit code ${end.exitCode}${reason}${words}`);
}

/**
 * A container whose own processes were not ended by it says `OOMKilled` too, with the exit code 0 of an orderly end, once the kernel has killed one tool in
 * it (seen with containerd): only the exit code of a kill makes it true.
 */
export function isOutOfMemory({ reason, exitCode }: ContainerEnd): boolean {
  return reason === 'OOMKilled' && exitCode === killedExitCode;
}

/** Why a pod ended of which no container tells it: one that never began on its node, or that is not in the cluster any more. */
export function endOfPod(facts: PodFacts): Gone {
  const { pod, job, node } = facts;
  if (pod === null) {
    if (job?.failed?.reason === 'DeadlineExceeded') return gone('deadline-exceeded', job.failed.message);
    return gone('evicted', 'its pod was deleted');
  }
  const byCluster = endByCluster(pod, facts);
  if (byCluster !== undefined) return byCluster;
  if (pod.isDeleting && node?.isReady === false)
    return gone('node-lost', `node ${node.name} does not answer`);
  if (pod.isDeleting || job?.isDeleting === true) return gone('evicted', 'its pod was deleted');
  return gone('evicted', wordsOf(pod.reason, pod.message, 'its node did not run it'));
}

/** Rows 2 to 4. */
function endByCluster(pod: PodState, { job }: PodFacts): Gone | undefined {
  if (pod.reason === 'DeadlineExceeded' || job?.failed?.reason === 'DeadlineExceeded')
    return gone(
      'deadline-exceeded',
      wordsOf('', pod.message || (job?.failed?.message ?? ''), 'its time is up'),
    );
  const { disruption } = pod;
  if (disruption !== null && lostNodeReasons.has(disruption.reason))
    return gone('node-lost', wordsOf(disruption.reason, disruption.message, 'its node is lost'));
  if (pod.reason === 'NodeLost') return gone('node-lost', wordsOf('', pod.message, 'its node is lost'));
  if (disruption !== null)
    return gone('evicted', wordsOf(disruption.reason, disruption.message, 'the cluster ended its pod'));
  const isEvicted = pod.reason === 'Evicted' || pod.reason === 'Terminated' || pod.reason === 'NodeShutdown';
  return isEvicted ? gone('evicted', wordsOf(pod.reason, pod.message, '')) : undefined;
}

/**
 * A node says in an event that it kills a container for a probe. `Unhealthy` alone may have been long ago: it counts with the exit code of a kill only.
 */
function failedProbe(name: string, end: ContainerEnd, { events }: PodFacts): string | undefined {
  const killing = events.find(
    ({ reason, message }) =>
      reason === 'Killing' &&
      message.includes(`Container ${name} failed`) &&
      /(liveness|startup) probe/.test(message),
  );
  const wasKilled = end.exitCode === killedExitCode || end.exitCode === 143;
  const unhealthy = events.find(
    ({ reason, message }) => reason === 'Unhealthy' && /^(liveness|startup) probe/i.test(message),
  );
  if (
    killing === undefined &&
    !(wasKilled && unhealthy !== undefined && name === podLayout.containers.supervisor)
  )
    return undefined;
  return `container ${name} was killed: ${unhealthy?.message ?? killing?.message ?? ''}`;
}

function wordsOf(reason: string, message: string, otherwise: string): string {
  const words = [reason, message].filter((part) => part !== '').join(': ');
  return (words === '' ? otherwise : words).slice(0, longestMessage);
}

const gone = (cause: GoneCause, message: string): Gone => ({ state: 'gone', cause, message });
