import type { Outcome } from '../contract/commands.js';
import type { RunFailureKind } from '../contract/failure-kinds.js';
import type { FinalVerdict, GoneCause } from './supervision.js';

/** How an attempt of the run ended, for its workflow: a verdict of its supervision, or a launch that gave up. */
export type AttemptEnd =
  | FinalVerdict
  | { readonly kind: 'launch-failed'; readonly failureKind: RunFailureKind; readonly message: string };

/** What Postgres knows about the attempts of a run and what is left of its limits; in milliseconds. */
export interface RetryFacts {
  readonly nowMs: number;
  readonly maxAttempts: number;
  readonly retryBackoffMs: number;
  readonly providerParkMs: number;
  readonly cancelRequested: boolean;
  readonly hardLeftMs: number;
  /** Null: the turn has no deadline. */
  readonly deadlineLeftMs: number | null;
  /** False: the agent took the prompt and keeps no ids of messages, so that a later attempt could only send it twice (docs/adr/0011). */
  readonly canResume: boolean;
  /** The runner that an idle hand-over chose was dead already: its loss does not count. Left out in histories of before. */
  readonly isFree?: boolean;
  /** Time parked for limits without a reset time. */
  readonly providerParkedMs: number;
  /** How many attempts of the run ended in a park for a provider's limit. */
  readonly providerParks: number;
  /** The attempts before this one that count, in order: all that did not end in a park. `begun`: the agent had sent an event. */
  readonly former: readonly {
    readonly failureKind: RunFailureKind | null;
    readonly begun: boolean;
  }[];
}

export type AttemptDecision =
  | {
      readonly kind: 'retry';
      readonly failureKind: RunFailureKind;
      readonly reason: string;
      /** The next attempt begins after this time and a random part of `jitterMs`. */
      readonly delayMs: number;
      readonly jitterMs: number;
      /** The next attempt compacts the thread first. */
      readonly compactNext: boolean;
    }
  | {
      readonly kind: 'park';
      readonly parkReason: 'person' | 'provider-limit';
      readonly failureKind: RunFailureKind | null;
      readonly reason: string;
      /** A provider's reset time; else `delayMs`; neither for a person. */
      readonly untilMs: number | null;
      readonly delayMs: number | null;
    }
  | {
      readonly kind: 'finish';
      /** The runner's processes are to be ended first. */
      readonly stopRunner: boolean;
      readonly terminalStatus: Outcome['terminalStatus'];
      readonly failureKind: RunFailureKind | null;
      readonly failureMessage: string | null;
    }
  | { readonly kind: 'leave' };

/** How often a kind is tried again. `attempts`: as long as the run has attempts left. */
export type RetryRule = 'never' | 'once' | 'attempts' | 'park' | 'park-until-reset';

/** decisions.md, "Failure kinds of a run" and "Provider errors". */
export const retryRules: Readonly<Record<RunFailureKind, RetryRule>> = {
  'runner-never-claimed': 'attempts',
  'runner-lost': 'attempts',
  'runner-oom-killed': 'once',
  'runner-evicted': 'attempts',
  'runner-unhealthy': 'attempts',
  'node-lost': 'attempts',
  'image-pull-failed': 'never',
  'invalid-pod': 'never',
  'prerequisite-failed': 'never',
  unschedulable: 'attempts',
  'agent-error': 'once',
  'first-output-timeout': 'once',
  'idle-timeout': 'once',
  'hard-timeout': 'never',
  'deadline-exceeded': 'never',
  'budget-exceeded': 'never',
  'storage-unavailable': 'attempts',
  'session-store-evicted': 'never',
  'poison-turn': 'never',
  cancelled: 'never',
  'infra-failed': 'attempts',
  'provider-auth': 'never',
  'provider-rate-limited': 'park',
  'provider-quota': 'park-until-reset',
  'provider-rejected': 'never',
  'model-not-found': 'never',
  'provider-unavailable': 'once',
  'provider-overloaded': 'attempts',
  'context-window-exceeded': 'once',
  'provider-disconnected': 'attempts',
};

/** Kinds of a runner that was lost or killed: the first retry after one is immediate. */
const lostKinds: readonly RunFailureKind[] = [
  'runner-lost',
  'runner-oom-killed',
  'runner-evicted',
  'runner-unhealthy',
  'node-lost',
];
/** Of those, what the turn itself may have done to its runner. */
const killedByTurn: readonly RunFailureKind[] = ['runner-lost', 'runner-oom-killed', 'runner-unhealthy'];

const immediateJitterMs = 250;
export const longestBackOffMs = 60_000;
/** Parks without a reset time, over the whole run. */
export const longestProviderParkMs = 7_200_000;
/** A reset time further away is not waited for. */
export const farthestResetMs = 86_400_000;
/** Parks of one run for a provider's limit: a provider that names ever new reset times is not waited for without end. */
export const mostProviderParks = 100;

/**
 * What does the turn do after an attempt? The first matching row wins. Kinds and their rules: {@link retryRules}.
 *
 * | # | the attempt | decision |
 * |---|---|---|
 * | 1 | `superseded` | leave |
 * | 2 | outcome `completed` | finish completed |
 * | 3 | anything else, and a cancel was asked, or `cancel-overdue` | finish cancelled |
 * | 4 | outcome `blocked` or `cancelled` | finish so |
 * | 5 | `park-waiting` | park for a person |
 * | 6 | kind is never tried again, or the agent cannot resume | finish failed with the kind |
 * | 7 | hard limit used up | finish failed with the kind |
 * | 8 | provider's limit, with a reset time ahead within 24 h and before the deadline | park until then |
 * | 9 | `provider-rate-limited`, without one, 2 h of such parks not used up | park for the first wait × 2 per park |
 * | 10 | provider's limit otherwise | finish failed with the kind |
 * | 11 | no attempt left, or a `once` kind for the second time; all attempts that count, at least two, had begun and killed their runner | finish blocked, `poison-turn` |
 * | 12 | the same otherwise | finish failed with the kind |
 * | 13 | first retry after a lost or killed runner | retry at once, jitter up to 250 ms |
 * | 14 | the back-off would not end before the hard limit or the deadline | finish failed with the kind |
 * | 15 | else | retry after 5 s × 2 up to 60 s (and up to a quarter of jitter) |
 *
 * An attempt that ended in a park does not count, nor one that was handed to an idle runner which was dead already (once per run). The hard limit stands still in a park, the deadline does not.
 */
export function decideAfterAttempt(end: AttemptEnd, facts: RetryFacts): AttemptDecision {
  if (end.kind === 'superseded') return { kind: 'leave' };
  const outcome = end.kind === 'outcome' ? end.outcome : null;
  if (outcome?.terminalStatus === 'completed') return finishAs(outcome);
  if (facts.cancelRequested || end.kind === 'cancel-overdue') return cancelled(end);
  if (outcome !== null && outcome.terminalStatus !== 'failed') return finishAs(outcome);
  if (end.kind === 'park-waiting') {
    const reason = 'nobody has answered the agent yet';
    return { kind: 'park', parkReason: 'person', failureKind: null, reason, untilMs: null, delayMs: null };
  }
  return decideAfterFailure(failureOf(end), facts);
}

interface Failure {
  readonly kind: RunFailureKind;
  readonly message: string;
  readonly begun: boolean;
  readonly resetAtMs: number | null;
  /** The runner has not ended by itself. */
  readonly stopRunner: boolean;
}

/** Rows 6 to 15. */
function decideAfterFailure(failure: Failure, facts: RetryFacts): AttemptDecision {
  const rule = retryRules[failure.kind];
  if (rule === 'never' || facts.canResume === false || facts.hardLeftMs <= 0) return fail(failure);
  if (rule === 'park' || rule === 'park-until-reset') return parkOrFail(failure, rule, facts);
  const { former } = facts;
  const isFree = facts.isFree === true && failure.kind === 'runner-lost' && !failure.begun;
  const isUsedUp =
    former.length + (isFree ? 0 : 1) >= facts.maxAttempts ||
    (rule === 'once' && former.some((attempt) => attempt.failureKind === failure.kind));
  if (isUsedUp) {
    const kills = [{ ...failure, failureKind: failure.kind }, ...former];
    const isPoison =
      kills.length >= 2 &&
      kills.every((one) => one.begun && one.failureKind !== null && killedByTurn.includes(one.failureKind));
    return isPoison ? poisoned(failure, kills.length) : fail(failure);
  }
  const isLost = (kind: RunFailureKind | null) => kind !== null && lostKinds.includes(kind);
  const wasLost = former.some((attempt) => isLost(attempt.failureKind));
  const retry = {
    kind: 'retry',
    failureKind: failure.kind,
    reason: failure.message,
    compactNext: failure.kind === 'context-window-exceeded',
  } as const;
  if (isLost(failure.kind) && !wasLost) return { ...retry, delayMs: 0, jitterMs: immediateJitterMs };
  // The one that was immediate is not a back-off.
  const backOffs = former.length - (wasLost ? 1 : 0);
  const delayMs = Math.min(longestBackOffMs, facts.retryBackoffMs * 2 ** backOffs);
  const leftMs = Math.min(facts.hardLeftMs, facts.deadlineLeftMs ?? Number.POSITIVE_INFINITY);
  if (delayMs >= leftMs) return fail(failure);
  return { ...retry, delayMs, jitterMs: Math.round(delayMs / 4) };
}

/** Rows 8 to 10. */
function parkOrFail(failure: Failure, rule: 'park' | 'park-until-reset', facts: RetryFacts): AttemptDecision {
  const deadlineLeftMs = facts.deadlineLeftMs ?? Number.POSITIVE_INFINITY;
  const parks = facts.providerParks;
  if (parks >= mostProviderParks) return fail(failure);
  const park = {
    kind: 'park',
    parkReason: 'provider-limit',
    failureKind: failure.kind,
    reason: failure.message,
  } as const;
  // A reset time that is over says nothing about the next one.
  if (failure.resetAtMs !== null && failure.resetAtMs > facts.nowMs) {
    const waitMs = failure.resetAtMs - facts.nowMs;
    if (waitMs > farthestResetMs || waitMs >= deadlineLeftMs) return fail(failure);
    return { ...park, untilMs: failure.resetAtMs, delayMs: null };
  }
  const leftMs = longestProviderParkMs - facts.providerParkedMs;
  if (rule === 'park-until-reset' || leftMs <= 0) return fail(failure);
  const delayMs = Math.min(leftMs, facts.providerParkMs * 2 ** Math.min(parks, 30));
  if (delayMs >= deadlineLeftMs) return fail(failure);
  return { ...park, untilMs: null, delayMs };
}

const goneKinds = {
  'oom-killed': 'runner-oom-killed',
  evicted: 'runner-evicted',
  unhealthy: 'runner-unhealthy',
  'node-lost': 'node-lost',
  'deadline-exceeded': 'deadline-exceeded',
  'prerequisite-failed': 'prerequisite-failed',
  'image-pull-failed': 'image-pull-failed',
  'invalid-pod': 'invalid-pod',
  unschedulable: 'unschedulable',
  'storage-unavailable': 'storage-unavailable',
} as const satisfies Record<NonNullable<GoneCause>, RunFailureKind>;

const goneWords = {
  'oom-killed': 'the runner was killed because it used up its memory',
  evicted: 'the runner was evicted from its node',
  unhealthy: 'the runner was killed because it did not answer its liveness probe',
  'node-lost': 'the node of the runner was lost',
  'deadline-exceeded': 'the runner lived longer than its pod may',
  'prerequisite-failed': 'the runner could not begin: something that it needs is wrong',
  'image-pull-failed': 'the image of the runner cannot be had',
  'invalid-pod': 'the cluster refused the pod of the runner',
  unschedulable: 'the cluster found no room for the runner in time',
  'storage-unavailable': 'the volume of the session could not be attached in time',
} as const satisfies Record<NonNullable<GoneCause>, string>;

/** The failure kind of an attempt's end, in words for a person. */
function failureOf(
  end: Exclude<AttemptEnd, { kind: 'superseded' | 'park-waiting' | 'cancel-overdue' }>,
): Failure {
  const failure = (kind: RunFailureKind, message: string, begun = false): Failure => ({
    kind,
    message,
    begun,
    resetAtMs: null,
    stopRunner: true,
  });
  switch (end.kind) {
    case 'outcome': {
      const { failureKind, failureMessage, provider } = end.outcome;
      const resetAtMs = provider?.resetAt == null ? null : Date.parse(provider.resetAt);
      return {
        kind: failureKind ?? 'agent-error',
        message: failureMessage ?? 'the agent gave no reason',
        begun: true,
        resetAtMs,
        stopRunner: false,
      };
    }
    case 'runner-gone': {
      const cause = end.cause ?? null;
      return cause === null
        ? failure(
            'runner-lost',
            end.message ?? 'the runner process ended without reporting an outcome',
            end.begun,
          )
        : failure(goneKinds[cause], end.message ?? goneWords[cause], end.begun);
    }
    case 'lease-lost':
      return failure(
        'runner-lost',
        'the lease expired and the runner did not come back within the partition grace',
        end.begun,
      );
    case 'never-claimed':
      return failure('runner-never-claimed', 'no runner claimed the run within the claim timeout');
    case 'timeout':
      return failure(
        `${end.timeoutKind}-timeout`,
        `the ${end.timeoutKind} limit of ${end.limitMs} ms has passed`,
        end.timeoutKind !== 'first-output',
      );
    case 'deadline-exceeded':
      return failure('deadline-exceeded', 'the deadline of the turn has passed');
    case 'launch-failed':
      return failure(end.failureKind, end.message);
  }
}

function finishAs(outcome: Outcome): AttemptDecision {
  return {
    kind: 'finish',
    stopRunner: false,
    terminalStatus: outcome.terminalStatus,
    failureKind: outcome.failureKind ?? null,
    failureMessage: outcome.failureMessage ?? null,
  };
}

function fail(failure: Failure): AttemptDecision {
  const { kind: failureKind, message: failureMessage, stopRunner } = failure;
  return { kind: 'finish', stopRunner, terminalStatus: 'failed', failureKind, failureMessage };
}

function poisoned(failure: Failure, attempts: number): AttemptDecision {
  return {
    kind: 'finish',
    stopRunner: failure.stopRunner,
    terminalStatus: 'blocked',
    failureKind: 'poison-turn',
    failureMessage: `each of the ${attempts} attempts killed its runner; the last: ${failure.message}`,
  };
}

function cancelMessage(end: AttemptEnd): string {
  if (end.kind === 'runner-gone' || end.kind === 'lease-lost')
    return 'the runner ended after the cancel was asked';
  if (end.kind === 'never-claimed' || (end.kind === 'cancel-overdue' && end.claimed === false))
    return 'cancelled before a runner claimed the run';
  if (end.kind === 'cancel-overdue') return 'the runner did not answer the cancel and was ended';
  return 'cancelled by request';
}

function cancelled(end: AttemptEnd): AttemptDecision {
  const said = end.kind === 'outcome' && end.outcome.terminalStatus === 'cancelled' ? end.outcome : null;
  return {
    kind: 'finish',
    stopRunner: end.kind !== 'outcome',
    terminalStatus: 'cancelled',
    failureKind: 'cancelled',
    failureMessage: said?.failureMessage ?? cancelMessage(end),
  };
}
