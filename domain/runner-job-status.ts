import type { RunnerJobPhase, TerminalStatus } from '../contract/states.js';

/** Phases in which a job's runner may still be at work; all others are final. */
export const livePhases = ['creating', 'pending', 'starting', 'running'] as const satisfies RunnerJobPhase[];

/** Kinds of failure whose runner vanished or never came: nobody deleted it. */
const lostKinds: ReadonlySet<string> = new Set([
  'runner-lost',
  'runner-never-claimed',
  'runner-oom-killed',
  'runner-evicted',
  'runner-unhealthy',
  'node-lost',
]);

// The phase of a runner job is a column (contract.md oddity 43): each step that changes how a job stands writes it, by these rules.
//
// | step | phase |
// |---|---|
// | the attempt is written, nothing launched | `creating`; handed to an idle runner: `running` |
// | the launcher has started the runner; a pod that waits for its node or image meanwhile | `starting`; `pending` |
// | a runner has claimed the attempt | `running` |
// | the runner has said how the attempt ended | {@link phaseAfterOutcome} |
// | the turn's workflow has given the attempt up | {@link phaseAfterEnd} |
// | the run ends with a job that is still live | {@link phaseAtFinish} |

/** The runner has told the outcome. Where the attempt had been given up before, only `completed` counts still. */
export function phaseAfterOutcome(outcome: TerminalStatus): RunnerJobPhase {
  return outcome === 'completed' ? 'succeeded' : 'failed';
}

/** The attempt was given up for `failureKind`; `parked`: its runner is deleted because the turn waits. */
export function phaseAfterEnd(failureKind: string | null, parked: boolean): RunnerJobPhase {
  if (parked) return 'deleted';
  return failureKind !== null && lostKinds.has(failureKind) ? 'lost' : 'failed';
}

/** The run has ended; `runnerDeleted`: a cancel had to end the runner. */
export function phaseAtFinish(end: {
  readonly terminalStatus: TerminalStatus;
  readonly failureKind: string | null;
  readonly runnerDeleted: boolean;
}): RunnerJobPhase {
  if (end.terminalStatus === 'completed') return 'succeeded';
  return phaseAfterEnd(end.failureKind, end.runnerDeleted);
}

/** One line on how a job stands, from its row and its attempt's (contract.md 7.9). */
export function runnerJobSummary(job: {
  readonly phase: RunnerJobPhase;
  readonly outcome: TerminalStatus | null;
  readonly failureKind: string | null;
  /** What the cluster said last about its pod. */
  readonly podMessage?: string | null;
}): string {
  const { phase, outcome, failureKind } = job;
  const words = job.podMessage == null ? '' : `: ${job.podMessage}`;
  switch (phase) {
    case 'creating':
      return 'its runner is to be started';
    case 'pending':
      return `its runner waits for a place, a volume or an image${words}`;
    case 'starting':
      return `its runner has not claimed the attempt yet${words}`;
    case 'running':
      return 'its runner has claimed the attempt';
    case 'succeeded':
      return 'its attempt completed';
    case 'deleted':
      return 'its runner was deleted';
    case 'lost':
    case 'failed': {
      if (outcome !== null) return `its attempt ended ${outcome}`;
      return failureKind === null
        ? 'its turn ended without a word of its runner'
        : `its attempt was given up: ${failureKind}`;
    }
  }
}
