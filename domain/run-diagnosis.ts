import type {
  Diagnosis,
  LivenessPhase,
  TerminalClassification,
  TimeoutBudget,
} from '../contract/supervisor.js';
import { bounded, isoOf, type RunFacts } from './run-facts.js';
import type { PodWait } from './supervision.js';
import { silenceOf } from './timeout-budget.js';

/** Of the cluster's words about a pod. */
const longestPodMessage = 500;

/** What the sentences are made from beside the facts. */
export interface Findings {
  readonly phase: LivenessPhase;
  readonly classification: TerminalClassification;
  readonly budget: TimeoutBudget;
}

/**
 * What is going on or went wrong: `{summary, since, likelyCause, evidence}`, one sentence that a tired operator understands (decisions.md, Liveness
 * phase). The phase chooses the sentence, of a run that ended its category (`endings` below). No text of agent or provider is repeated: only
 * kinds, numbers, names, and what the cluster says about a pod.
 *
 * | phase | summary | since | likely cause |
 * |---|---|---|---|
 * | `queued` | waits for its session | creation | another turn is active, or nobody dispatched it |
 * | `starting` | the runner is being started, or what its pod waits for | creation of the attempt's job, or of the wait | by what it waits for |
 * | `claimed` | a runner is there, the agent not yet | claim | - |
 * | `running` | the agent works | begin | - |
 * | `quiet` | nothing heard of the agent | last sign of life | a long command, or a provider that is silent |
 * | `finishing` | the attempt said how it ended | outcome | the worker or Temporal is behind |
 * | `waiting` | waits for a person | request | nobody answered yet |
 * | `parked` | parked for a person or a limit | park | as it says |
 * | `lease-expired` | the runner does not report | end of the lease | runner, its node or its network |
 * | `retrying` | the attempt was lost, the next comes | its end | its failure kind |
 */
export function diagnose(facts: RunFacts, findings: Findings, nowMs: number): Diagnosis {
  const told = sentence(facts, findings, nowMs);
  return {
    summary: told.summary,
    since: isoOf(told.sinceMs),
    likelyCause: told.likelyCause ?? null,
    evidence: [...(told.evidence ?? []), ...commonEvidence(facts, findings)],
  };
}

interface Told {
  readonly summary: string;
  readonly sinceMs: number | null;
  readonly likelyCause?: string | null;
  readonly evidence?: readonly string[];
}

function sentence(facts: RunFacts, findings: Findings, nowMs: number): Told {
  const { attempt, parked, pendingRequest: request } = facts;
  switch (findings.phase) {
    case 'queued':
      return {
        summary: 'The turn has not begun.',
        sinceMs: facts.createdAtMs,
        likelyCause: 'another turn of its session is active, or its first command was not sent',
      };
    case 'starting':
      return startingSentence(facts);
    case 'claimed':
      return {
        summary: 'A runner has the turn and starts the agent.',
        sinceMs: attempt?.claimedAtMs ?? null,
      };
    case 'running':
      return { summary: 'The agent is working.', sinceMs: facts.startedAtMs };
    case 'quiet': {
      const silence = silenceOf(facts, nowMs);
      return {
        summary: `Nothing was heard of the agent for ${spanOf(silence?.elapsedMs ?? 0)}; its runner is alive.`,
        sinceMs: silence?.sinceMs ?? null,
        likelyCause:
          facts.lastActivity?.status === 'inProgress'
            ? 'a long-running command or tool'
            : 'a provider that does not answer, or an agent that hangs',
      };
    }
    case 'finishing':
      return {
        summary: `The attempt ended ${attempt?.outcome ?? ''}; the turn is about to be closed or tried again.`,
        sinceMs: attempt?.outcomeAtMs ?? null,
        likelyCause: 'if it stays so: no worker is running, or Temporal cannot be reached',
      };
    case 'waiting':
      return {
        summary: 'The agent waits for the answer of a person.',
        sinceMs: request?.askedAtMs ?? null,
        likelyCause: 'nobody has answered yet',
        evidence: requestEvidence(facts),
      };
    case 'parked':
      return parked?.reason === 'person'
        ? {
            summary: 'The turn is parked until a person answers; no runner is held.',
            sinceMs: parked.sinceMs,
            likelyCause: 'nobody has answered yet',
            evidence: requestEvidence(facts),
          }
        : {
            summary: `The turn is parked for a limit of the provider${parked?.untilMs == null ? '' : ` until ${isoOf(parked.untilMs)}`}; it goes on by itself.`,
            sinceMs: parked?.sinceMs ?? null,
            likelyCause: attempt?.endFailureKind ?? 'provider-rate-limited',
          };
    case 'lease-expired': {
      const gone = attempt?.runner === 'gone';
      return {
        summary: gone
          ? 'The runner is gone; the turn is about to be tried again.'
          : 'The runner has stopped reporting; it may still be working.',
        sinceMs: attempt?.leaseExpiresAtMs ?? attempt?.claimedAtMs ?? null,
        likelyCause: gone
          ? 'its process or pod ended'
          : 'the runner, its node or its network is down, or it cannot reach this API',
        evidence: attempt === null ? [] : [`runner ${attempt.jobName}`, ...podEvidence(facts)],
      };
    }
    case 'retrying':
      return retryingSentence(facts);
    case 'terminal':
      return endSentence(facts, findings.classification);
    case 'unavailable':
      return { summary: 'The state of the run cannot be read right now.', sinceMs: null };
  }
}

function startingSentence(facts: RunFacts): Told {
  const { attempt } = facts;
  const pod = attempt?.job?.pod ?? null;
  if (pod?.wait == null)
    return {
      summary: 'A runner is being started for the turn.',
      sinceMs: attempt === null ? null : attempt.claimDeadlineMs - facts.policy.claimTimeoutMs,
      likelyCause: null,
      evidence: jobEvidence(facts),
    };
  const [summary, likelyCause] = podWaits[pod.wait];
  return { summary, sinceMs: pod.sinceMs, likelyCause, evidence: jobEvidence(facts) };
}

/** What the pod of a runner waits for, and what is wrong when it waits long. */
const podWaits: Readonly<Record<PodWait, readonly [string, string | null]>> = {
  place: ['The runner waits for a place in the cluster.', 'quota, resources or node selectors'],
  volume: [
    "The runner waits for the session's volume.",
    'a volume that another node holds, or a storage class',
  ],
  image: ['The image of the runner cannot be pulled.', 'a wrong name or missing credentials'],
  start: ['The pod of the runner is starting.', null],
};

function retryingSentence(facts: RunFacts): Told {
  const { attempt } = facts;
  const ended = attempt?.endedAtMs != null;
  const former = ended
    ? { epoch: attempt.epoch, failureKind: attempt.endFailureKind }
    : facts.formerAttempts.at(-1);
  const next = (former?.epoch ?? 0) + 1;
  return {
    summary: ended
      ? `Attempt ${former?.epoch ?? 0} ended with ${former?.failureKind ?? 'no kind'}; attempt ${next} begins when its runner is proven gone.`
      : `Attempt ${next} is being started after attempt ${former?.epoch ?? 0} ended with ${former?.failureKind ?? 'no kind'}.`,
    sinceMs: ended ? attempt.endedAtMs : (attempt?.claimDeadlineMs ?? 0) - facts.policy.claimTimeoutMs,
    likelyCause: former?.failureKind ?? null,
    evidence: [...(ended ? [`former runner ${attempt.jobName}`] : []), ...jobEvidence(facts)],
  };
}

/** What a category means in words; the cause is the recorded kind where the category is not. */
const endings: Readonly<Record<TerminalClassification['category'], readonly [string, string | null]>> = {
  'not-terminal': ['The turn has not ended.', null],
  completed: ['The turn completed.', null],
  'cancelled-by-request': ['The turn was cancelled on request.', null],
  'cancelled-unattributed': ['The turn was cancelled, and nobody is on record who asked for it.', null],
  'runner-lost': [
    'The runner was lost during the turn, and no attempt is left.',
    'its process, pod or node ended',
  ],
  'runner-never-claimed': ['No runner came up for the turn in time.', 'the runner could not be started'],
  'runner-oom-killed': ['The runner ran out of memory.', 'a command or the agent needed more than the limit'],
  'runner-evicted': ['The runner was stopped or evicted from its node.', 'a drain, a shutdown or pressure'],
  'runner-unhealthy': ['The runner was killed because it did not answer its health check.', 'it hung'],
  'node-lost': ['The node of the runner was lost.', 'the node is down or cut off'],
  'image-pull-failed': [
    'The image of the runner could not be pulled.',
    'a wrong name or missing credentials',
  ],
  'invalid-pod': ['The cluster refused the pod of the runner.', 'its settings are invalid'],
  'prerequisite-failed': [
    'The runner could not prepare the turn.',
    'a repository, a ref or a setting was refused',
  ],
  unschedulable: ['The cluster found no room for the runner.', 'quota, resources or node selectors'],
  'storage-unavailable': [
    'The storage of the session was not available.',
    'the volume could not be attached',
  ],
  'session-store-evicted': ['The storage of the session was evicted.', 'it had expired'],
  'hard-timeout': ['The turn used up its time and was ended.', 'the task is larger than its limit'],
  'idle-timeout': [
    'The agent was silent for too long and was ended.',
    'a hanging agent, command or provider',
  ],
  'budget-exceeded': ['The turn used up its budget.', null],
  blocked: ['The turn was blocked: it ended its runner on every attempt.', 'the turn itself'],
  'provider-failure': ['The model provider failed the turn.', null],
  'provider-retry-interrupted': [
    'The turn ended while the agent was asking the provider again.',
    'a provider that is failing',
  ],
  'transport-disconnect': [
    'The turn ended after a connection was lost.',
    'the network, or the other end of it',
  ],
  'failed-known': ['The turn failed.', null],
  unknown: ['The turn failed, and no cause is on record.', null],
};

function endSentence(facts: RunFacts, classification: TerminalClassification): Told {
  const [summary, cause] = endings[classification.category];
  const kind = facts.terminalStatus === 'completed' ? null : facts.failureKind;
  return {
    summary,
    sinceMs: facts.finishedAtMs,
    likelyCause: cause ?? (kind === classification.category ? null : kind),
    evidence: [
      `terminal status ${facts.terminalStatus ?? 'none'}`,
      ...(kind === null ? [] : [`failure kind ${kind}`]),
      `${classification.reason} (${classification.confidence} confidence)`,
      ...(classification.providerInterruptionReason === null
        ? []
        : [classification.providerInterruptionReason]),
    ],
  };
}

function commonEvidence(facts: RunFacts, { phase, budget }: Findings): string[] {
  const evidence: string[] = [];
  const former = facts.formerAttempts;
  if (former.length > 0) {
    const kinds = former.map((attempt) => `${attempt.epoch}: ${attempt.failureKind ?? 'no kind'}`);
    evidence.push(`former attempts ${kinds.join(', ')}`);
  }
  if (phase === 'terminal') return evidence;
  if (budget.state === 'warning' || budget.state === 'exceeded') {
    evidence.push(`${budget.timeoutKind ?? 'no'} limit: ${spanOf(budget.remainingMs ?? 0)} left`);
  }
  if (facts.cancelRequestedAtMs !== null)
    evidence.push(`cancel requested at ${isoOf(facts.cancelRequestedAtMs)}`);
  if (facts.lastActivity !== null) {
    evidence.push(`last activity ${facts.lastActivity.activityKind} at event ${facts.lastActivity.seq}`);
  }
  return evidence;
}

function jobEvidence({ attempt }: RunFacts): string[] {
  if (attempt?.job == null) return [];
  return [`runner job ${attempt.jobName} is ${attempt.job.phase}`, ...podEvidence({ attempt })];
}

function podEvidence({ attempt }: Pick<RunFacts, 'attempt'>): string[] {
  const pod = attempt?.job?.pod;
  return [
    ...(pod?.nodeName == null ? [] : [`on node ${pod.nodeName}`]),
    ...(pod?.message == null ? [] : [bounded(pod.message, longestPodMessage)]),
  ];
}

function requestEvidence({ pendingRequest: request }: RunFacts): string[] {
  if (request === null) return [];
  const limit = request.expiresAtMs === null ? 'no limit' : `expires at ${isoOf(request.expiresAtMs)}`;
  return [`request ${request.requestId} (${request.kind}), ${limit}`];
}

/** A duration for people: seconds, minutes or hours. */
function spanOf(ms: number): string {
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}
