/** A runner's Job in the cluster, and what the records say about its runner. */
export interface RetainedRunner {
  readonly jobName: string;
  /**
   * `active`: its lease is live, it was heard of lately, or its turn has not ended, which is the turn's to decide about. `unknown`: not of this
   * installation's records.
   */
  readonly state: 'active' | 'inactive' | 'unknown';
  /** When it was last heard of, else when it was made. */
  readonly lastActiveAtMs: number;
}

export interface RetentionLimits {
  readonly maxRunners: number;
  /** Undefined: age alone removes none. */
  readonly maxAgeMs: number | undefined;
}

export interface RetentionDecision {
  /** The oldest activity first. */
  readonly remove: readonly { readonly jobName: string; readonly reason: 'too-many' | 'too-old' }[];
  /** How many stay, by why. */
  readonly kept: { readonly active: number; readonly unknown: number; readonly withinLimits: number };
}

/**
 * Which runners' Jobs are removed (contract.md 8.3; decisions.md, Runner retention): all are counted, and of the inactive ones those with the oldest activity
 * go until no more than `maxRunners` are left; then those that are too old. An active one, and one that is not ours to know, never goes.
 */
export function decideRetention(
  runners: readonly RetainedRunner[],
  { maxRunners, maxAgeMs }: RetentionLimits,
  nowMs: number,
): RetentionDecision {
  const inactive = runners
    .filter(({ state }) => state === 'inactive')
    .toSorted((left, right) => left.lastActiveAtMs - right.lastActiveAtMs || byName(left, right));
  const excess = Math.max(0, runners.length - maxRunners);
  const tooMany = inactive.slice(0, excess);
  const tooOld = inactive
    .slice(excess)
    .filter(({ lastActiveAtMs }) => maxAgeMs !== undefined && nowMs - lastActiveAtMs > maxAgeMs);
  const count = (state: RetainedRunner['state']) => runners.filter((runner) => runner.state === state).length;
  return {
    remove: [
      ...tooMany.map(({ jobName }) => ({ jobName, reason: 'too-many' as const })),
      ...tooOld.map(({ jobName }) => ({ jobName, reason: 'too-old' as const })),
    ],
    kept: {
      active: count('active'),
      unknown: count('unknown'),
      withinLimits: inactive.length - tooMany.length - tooOld.length,
    },
  };
}

const byName = (left: RetainedRunner, right: RetainedRunner) => (left.jobName < right.jobName ? -1 : 1);
