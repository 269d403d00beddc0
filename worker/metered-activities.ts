import type { RecordActivities, RunnerActivities, SuperviseActivities } from '../activities/index.js';
import type { WorkerMetrics } from './metrics.js';

/** Counts the ends of turns. A step that is repeated because its answer was lost counts again. */
export function meteredRecords(records: RecordActivities, metrics: WorkerMetrics): RecordActivities {
  return {
    ...records,
    async finishTurn(input) {
      const finished = await records.finishTurn(input);
      metrics.turnEnded(finished.status, finished.status === 'completed' ? null : input.end.failureKind);
      return finished;
    },
  };
}

/** Measures the launches of runners. */
export function meteredRunners(runners: RunnerActivities, metrics: WorkerMetrics): RunnerActivities {
  return {
    ...runners,
    async launchRunner(input) {
      const startedMs = performance.now();
      let result: 'started' | 'failed' = 'failed';
      try {
        await runners.launchRunner(input);
        result = 'started';
      } finally {
        metrics.launched(result, performance.now() - startedMs);
      }
    },
  };
}

/** Counts the watches that are under way, and how they end. */
export function meteredSupervision(
  supervise: SuperviseActivities,
  metrics: WorkerMetrics,
): SuperviseActivities {
  return {
    async superviseRunner(input) {
      const ended = metrics.supervisionBegan();
      let verdict: string | undefined;
      try {
        const seen = await supervise.superviseRunner(input);
        verdict = seen.verdict.kind;
        return seen;
      } finally {
        ended(verdict);
      }
    },
  };
}
