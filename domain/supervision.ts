import type { Outcome } from '../contract/commands.js';
import type { ExecutionPolicy } from '../contract/execution-policy.js';
import type { Launcher } from '../contract/runs.js';

/**
 * Why a runner that is gone was ended, as far as its launcher can tell; null: it ended, nobody knows why. `prerequisite-failed`: it could not begin, and
 * said so itself (exit code 2, or a token that the API does not take). From `image-pull-failed` on it never began: its pod was given up.
 */
export type GoneCause =
  | 'oom-killed'
  | 'evicted'
  | 'unhealthy'
  | 'node-lost'
  | 'deadline-exceeded'
  | 'prerequisite-failed'
  | 'image-pull-failed'
  | 'invalid-pod'
  | 'unschedulable'
  | 'storage-unavailable'
  | null;

/** What a pod waits for before its containers run: a node, its volume, an image, or the containers themselves. */
export type PodWait = 'place' | 'volume' | 'image' | 'start';

/** What is known about the runner's process or pod itself. `unknown`: nobody can see it (launcher `external`, or not launched yet). */
export type ProcessFate =
  /**
   * `startedAtMs`: when its containers began, if its launcher can tell: the time to claim counts from then (decisions.md, Timeouts). `lostNode`: the node
   * that it is on does not answer the cluster; the runner itself may live on, which its lease tells. `node`: where it runs.
   */
  | {
      readonly state: 'alive';
      readonly startedAtMs?: number;
      readonly node?: string;
      readonly lostNode?: string;
    }
  /** Its containers have not begun. How long that may take is its launcher's to say: then it is `gone`. `message`: the cluster's own words. */
  | {
      readonly state: 'waiting';
      readonly for: PodWait;
      readonly sinceMs: number;
      readonly message: string;
      readonly node?: string;
    }
  | { readonly state: 'unknown' }
  /** `message`: what the runner said about it, for a person. */
  | { readonly state: 'gone'; readonly cause: GoneCause; readonly message?: string };

/** Facts about one attempt; times are epoch milliseconds of Postgres' clock. */
export interface SupervisionFacts {
  readonly nowMs: number;
  readonly runStatus: string;
  readonly currentEpoch: number;
  readonly policy: ExecutionPolicy;
  readonly cancelRequestedAtMs: number | null;
  /** How long after the request a cancel may take; null: {@link cancelGraceMs}. */
  readonly cancelDeadlineMs: number | null;
  readonly deadlineAtMs: number | null;
  readonly createdAtMs: number;
  readonly startedAtMs: number | null;
  /** Since when the clocks of the hard and the idle limit stand still; null: they run. */
  readonly pausedSinceMs: number | null;
  /** Time of pauses that are over. */
  readonly pausedMs: number;
  readonly claimDeadlineMs: number;
  readonly claimedAtMs: number | null;
  readonly firstEventAtMs: number | null;
  readonly firstOutputAtMs: number | null;
  readonly lastProgressAtMs: number | null;
  /** When the oldest request that still waits for a person was asked. */
  readonly waitingSinceMs: number | null;
  /** When a request was last resolved: the silence before it was a person's. */
  readonly lastResolvedAtMs: number | null;
  /** Whether the runner is ours to release while a person thinks; not one with launcher `external`. */
  readonly canPark: boolean;
  /** The launcher that an attempt was given for which somebody else was to start a runner; null: none, or it had one from the start. */
  readonly givenLauncher: OwnLauncher | null;
  readonly outcome: Outcome | null;
  readonly outcomeAtMs: number | null;
  readonly jobName: string;
  readonly leaseExpiresAtMs: number | null;
  /** The first look that succeeded after looks that failed; null when none failed. */
  readonly lookingSinceMs: number | null;
  readonly lastSeq: number;
  readonly lastEventType: string | null;
  readonly process: ProcessFate;
}

/** How we start runners ourselves. */
export type OwnLauncher = Exclude<Launcher, 'external'>;

/**
 * How an attempt stands. Everything but `wait` and `launcher-given`, with which it begins again, is final for the attempt. `begun`: the agent had sent
 * an event.
 */
export type SupervisionVerdict =
  | { readonly kind: 'wait'; readonly phase: AttemptPhase; readonly nextDeadlineMs: number | null }
  | { readonly kind: 'launcher-given'; readonly launcher: OwnLauncher }
  | { readonly kind: 'superseded' }
  | { readonly kind: 'outcome'; readonly outcome: Outcome }
  /** `cause` is left out in histories of 0.1.0. */
  | {
      readonly kind: 'runner-gone';
      readonly begun: boolean;
      readonly cause?: GoneCause;
      readonly message?: string;
    }
  | { readonly kind: 'never-claimed' }
  | { readonly kind: 'lease-lost'; readonly begun: boolean }
  | {
      readonly kind: 'timeout';
      readonly timeoutKind: 'first-output' | 'idle' | 'hard';
      readonly limitMs: number;
    }
  | { readonly kind: 'deadline-exceeded' }
  | { readonly kind: 'park-waiting' }
  /** `claimed: false`: there was nobody to ask. Left out in histories of 0.1.0. */
  | { readonly kind: 'cancel-overdue'; readonly claimed?: boolean };

/** A verdict that ends the attempt. */
export type FinalVerdict = Exclude<SupervisionVerdict, { kind: 'wait' | 'launcher-given' }>;

export type AttemptPhase = 'starting' | 'claimed' | 'running' | 'waiting' | 'lease-expired' | 'cancelling';

/** A runner that was asked to cancel interrupts, cleans and kills within this time; then the launcher does it. */
export const cancelGraceMs = 15_000;

/** How long the word of a runner that its agent failed waits for what the cluster says about its pod (architecture.md 4.2). */
export const fateGraceMs = 5_000;

type Clock = Pick<
  SupervisionFacts,
  'nowMs' | 'startedAtMs' | 'claimedAtMs' | 'pausedSinceMs' | 'pausedMs' | 'policy'
>;

/**
 * What is left of a run's hard limit over all its attempts, in milliseconds, never negative; the whole limit before the first claim. Time in
 * which a person was awaited or the turn was parked does not count (decisions.md, Timeouts).
 */
export function hardLeftMs(clock: Clock): number {
  const startedAtMs = clock.startedAtMs ?? clock.claimedAtMs;
  if (startedAtMs === null) return clock.policy.hardTimeoutMs;
  const pausedNowMs = clock.pausedSinceMs === null ? 0 : Math.max(0, clock.nowMs - clock.pausedSinceMs);
  const elapsedMs = clock.nowMs - startedAtMs - clock.pausedMs - pausedNowMs;
  return Math.max(0, clock.policy.hardTimeoutMs - Math.max(0, elapsedMs));
}

/**
 * How does the attempt stand? The first matching row wins.
 *
 * | # | condition | verdict |
 * |---|---|---|
 * | 1 | the run is terminal, or another attempt is current | `superseded` |
 * | 2 | an outcome is stored; one of `agent-error` waits for the fate of a pod up to 5 s | `outcome`; out of memory, if that was why |
 * | 3 | a launcher was given to an attempt that waits for somebody else's runner, and no cancel was asked | `launcher-given` |
 * | 4 | the process is seen gone | `runner-gone` |
 * | 5 | a cancel was asked, and no runner has claimed or its deadline has passed | `cancel-overdue` |
 * | 6 | the deadline of the turn has passed | `deadline-exceeded` |
 * | 7 | clock runs, hard limit used up | `timeout` hard |
 * | 8 | not claimed, its pod does not wait, and the claim deadline has passed (it counts from the start of the containers) | `never-claimed` |
 * | 9 | the lease expired, and its node is lost, or the partition grace is over | `runner-gone` node-lost, `lease-lost` |
 * | 10 | a person is awaited for the time to park, and the runner is ours | `park-waiting` |
 * | 11 | clock runs, lease live, nothing of the model within the first-output limit | `timeout` first-output |
 * | 12 | clock runs, lease live, no progress within the idle limit (0: off) | `timeout` idle |
 * | 13 | else | `wait` |
 *
 * - The caller looks at the process first and at the records afterwards: a runner stores its outcome before it ends, so a process that is gone
 *   without an outcome left none. One that arrives later still counts (store/turn-steps.ts).
 * - An expired lease alone is a phase (architecture.md 5). The partition grace counts from its expiry, or from the first look that succeeded after
 *   failed ones if that is later: while the store was away no runner could renew anything.
 * - Silence counts only while the lease is live: a runner that cannot reach the API is not heard, whatever its agent does. The heartbeat that
 *   renews the lease brings the progress in the same statement.
 * - While a person is awaited the hard, first-output and idle clocks stand still; the deadline never does.
 */
export function judgeAttempt(facts: SupervisionFacts, epoch: number): SupervisionVerdict {
  if (isTerminal(facts.runStatus) || facts.currentEpoch !== epoch) return { kind: 'superseded' };
  const ended = outcomeVerdict(facts);
  if (ended !== undefined) return ended;
  if (facts.givenLauncher !== null && facts.cancelRequestedAtMs === null)
    return { kind: 'launcher-given', launcher: facts.givenLauncher };
  const begun = facts.firstEventAtMs !== null;
  if (facts.process.state === 'gone') {
    const { cause, message } = facts.process;
    return { kind: 'runner-gone', begun, cause, ...(message === undefined ? {} : { message }) };
  }
  const deadlines = new Deadlines(facts.nowMs);
  return (
    endBeforeLimits(facts, deadlines) ??
    leaseVerdict(facts, deadlines, begun) ??
    silenceVerdict(facts, deadlines) ?? {
      kind: 'wait',
      phase: phaseOf(facts, begun),
      nextDeadlineMs: deadlines.next(),
    }
  );
}

/** Row 2. */
function outcomeVerdict(facts: SupervisionFacts): SupervisionVerdict | undefined {
  const { outcome, nowMs } = facts;
  if (outcome === null) return undefined;
  if (outcome.terminalStatus === 'failed' && outcome.failureKind === 'agent-error') {
    const fate = facts.process;
    if (fate.state === 'gone' && fate.cause === 'oom-killed')
      return { kind: 'runner-gone', begun: facts.firstEventAtMs !== null, cause: fate.cause };
    const untilMs = (facts.outcomeAtMs ?? nowMs) + fateGraceMs;
    const isPod = fate.state === 'alive' && fate.startedAtMs !== undefined;
    if (isPod && nowMs < untilMs) return { kind: 'wait', phase: 'running', nextDeadlineMs: untilMs };
  }
  return { kind: 'outcome', outcome };
}

/** Rows 5 to 8. */
function endBeforeLimits(facts: SupervisionFacts, deadlines: Deadlines): SupervisionVerdict | undefined {
  const { nowMs, policy, cancelRequestedAtMs } = facts;
  if (cancelRequestedAtMs !== null) {
    const graceMs = facts.cancelDeadlineMs ?? cancelGraceMs;
    const claimed = facts.claimedAtMs !== null;
    if (!claimed || deadlines.passed(cancelRequestedAtMs + graceMs))
      return { kind: 'cancel-overdue', claimed };
  }
  if (facts.deadlineAtMs !== null && deadlines.passed(facts.deadlineAtMs))
    return { kind: 'deadline-exceeded' };
  const hasStarted = facts.startedAtMs !== null || facts.claimedAtMs !== null;
  if (hasStarted && facts.pausedSinceMs === null && deadlines.passed(nowMs + hardLeftMs(facts))) {
    return { kind: 'timeout', timeoutKind: 'hard', limitMs: policy.hardTimeoutMs };
  }
  if (
    facts.claimedAtMs === null &&
    facts.process.state !== 'waiting' &&
    deadlines.passed(claimDeadline(facts))
  )
    return { kind: 'never-claimed' };
  return undefined;
}

function claimDeadline(facts: SupervisionFacts): number {
  const { claimDeadlineMs, policy } = facts;
  const fate = facts.process;
  if (fate.state !== 'alive' || fate.startedAtMs === undefined) return claimDeadlineMs;
  return Math.max(claimDeadlineMs, fate.startedAtMs + policy.claimTimeoutMs);
}

const isLeaseExpired = (facts: SupervisionFacts): boolean =>
  facts.leaseExpiresAtMs === null || facts.nowMs >= facts.leaseExpiresAtMs;

/** Rows 9 and 10. */
function leaseVerdict(
  facts: SupervisionFacts,
  deadlines: Deadlines,
  begun: boolean,
): SupervisionVerdict | undefined {
  if (facts.claimedAtMs === null) return undefined;
  const { policy } = facts;
  if (isLeaseExpired(facts)) {
    const { lookingSinceMs } = facts;
    const fate = facts.process;
    // While nobody could look, no runner could renew its lease either.
    const couldRenew = lookingSinceMs === null || deadlines.passed(lookingSinceMs + policy.leaseMs);
    if (fate.state === 'alive' && fate.lostNode !== undefined && couldRenew)
      return {
        kind: 'runner-gone',
        begun,
        cause: 'node-lost',
        message: `node ${fate.lostNode} does not answer`,
      };
    const sinceMs = Math.max(facts.leaseExpiresAtMs ?? facts.claimedAtMs, facts.lookingSinceMs ?? 0);
    if (deadlines.passed(sinceMs + policy.partitionGraceMs)) return { kind: 'lease-lost', begun };
  }
  const parkable = facts.canPark && facts.cancelRequestedAtMs === null;
  if (
    parkable &&
    facts.waitingSinceMs !== null &&
    deadlines.passed(facts.waitingSinceMs + policy.parkAfterMs)
  )
    return { kind: 'park-waiting' };
  return undefined;
}

/** Rows 11 and 12. */
function silenceVerdict(facts: SupervisionFacts, deadlines: Deadlines): SupervisionVerdict | undefined {
  if (facts.claimedAtMs === null || isLeaseExpired(facts) || facts.pausedSinceMs !== null) return undefined;
  const { policy } = facts;
  const sinceMs = Math.max(facts.claimedAtMs, facts.lastResolvedAtMs ?? 0);
  if (facts.firstOutputAtMs === null && deadlines.passed(sinceMs + policy.firstOutputTimeoutMs)) {
    return { kind: 'timeout', timeoutKind: 'first-output', limitMs: policy.firstOutputTimeoutMs };
  }
  const lastProgressMs = Math.max(sinceMs, facts.lastProgressAtMs ?? 0, facts.firstEventAtMs ?? 0);
  if (policy.idleTimeoutMs > 0 && deadlines.passed(lastProgressMs + policy.idleTimeoutMs)) {
    return { kind: 'timeout', timeoutKind: 'idle', limitMs: policy.idleTimeoutMs };
  }
  return undefined;
}

function phaseOf(facts: SupervisionFacts, begun: boolean): AttemptPhase {
  if (facts.cancelRequestedAtMs !== null) return 'cancelling';
  if (facts.claimedAtMs === null) return 'starting';
  if (isLeaseExpired(facts)) return 'lease-expired';
  if (facts.waitingSinceMs !== null) return 'waiting';
  return begun ? 'running' : 'claimed';
}

const isTerminal = (status: string): boolean =>
  ['completed', 'failed', 'blocked', 'cancelled'].includes(status);

/** The deadlines that were looked at and lie ahead. */
class Deadlines {
  readonly #nowMs: number;
  readonly #ahead: number[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  passed(deadlineMs: number): boolean {
    if (this.#nowMs >= deadlineMs) return true;
    this.#ahead.push(deadlineMs);
    return false;
  }

  next(): number | null {
    return this.#ahead.length === 0 ? null : Math.min(...this.#ahead);
  }
}
