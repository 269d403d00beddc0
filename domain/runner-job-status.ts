import type { RunnerJobPhase, RunnerState, TerminalStatus } from '../contract/states.js';

/** A runner job's row with its attempt and its runner. */
export interface RunnerJobFacts {
  readonly phase: RunnerJobPhase;
  readonly claimed: boolean;
  readonly outcome: TerminalStatus | null;
  /** How the turn's workflow gave the attempt up; null while it did not. */
  readonly endFailureKind: string | null;
  readonly ended: boolean;
  readonly runner: RunnerState | null;
}

export interface RunnerJobVerdict {
  readonly phase: RunnerJobPhase;
  readonly summary: string;
}

const lostKinds: ReadonlySet<string> = new Set([
  'runner-lost',
  'runner-never-claimed',
  'runner-oom-killed',
  'runner-evicted',
  'runner-unhealthy',
  'node-lost',
]);

/**
 * How a runner job stands (decisions.md, States; contract.md 7.9). The first matching row wins. `running` means that the runner has claimed.
 *
 * | # | condition | phase |
 * |---|---|---|
 * | 1 | recorded as `deleted` | `deleted` |
 * | 2 | the attempt's outcome is `completed` | `succeeded` |
 * | 3 | another outcome is stored | `failed` |
 * | 4 | the attempt was given up because the runner or its node went away | `lost` |
 * | 5 | the attempt was given up for another reason | `failed` |
 * | 6 | recorded as `succeeded`, `failed` or `lost` | as recorded |
 * | 7 | claimed, and the runner is known to be gone | `lost` |
 * | 8 | claimed | `running` |
 * | 9 | the runner is known to be gone | `failed` |
 * | 10 | else | as recorded |
 */
export function runnerJobStatus(job: RunnerJobFacts): RunnerJobVerdict {
  if (job.phase === 'deleted') return { phase: 'deleted', summary: 'the job was deleted' };
  if (job.outcome === 'completed') return { phase: 'succeeded', summary: 'its attempt completed' };
  if (job.outcome !== null) return { phase: 'failed', summary: `its attempt ended ${job.outcome}` };
  if (job.ended) {
    const kind = job.endFailureKind ?? 'no kind';
    const isLost = job.endFailureKind !== null && lostKinds.has(job.endFailureKind);
    return { phase: isLost ? 'lost' : 'failed', summary: `its attempt was given up: ${kind}` };
  }
  if (job.phase === 'succeeded' || job.phase === 'failed' || job.phase === 'lost') {
    return { phase: job.phase, summary: `its turn ended without an outcome of this runner` };
  }
  const gone = job.runner === 'gone';
  if (job.claimed && gone) return { phase: 'lost', summary: 'the runner is gone and said nothing' };
  if (job.claimed) return { phase: 'running', summary: 'the runner has claimed the attempt' };
  if (gone) return { phase: 'failed', summary: 'the runner is gone before it claimed the attempt' };
  return { phase: job.phase, summary: 'the runner has not claimed the attempt yet' };
}
