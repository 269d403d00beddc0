import { setCurrentDetails, setHandler } from '@temporalio/workflow';
import { runnerRemovals } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import { type RunnerRetentionReport, retainRunnersSignal } from './messages.js';

/** Runners that are removed at the same time. */
const atOnce = 4;
/** No further one is begun after this. The rest is found by the next cycle. */
const longestMs = 600_000;
/** Cycles of one execution: whoever asks beyond that is served by the next Job or by the Schedule. */
const mostCycles = 20;

/**
 * Retention of the Jobs of runners (contract.md 8.3): begun by the Schedule and after each Job that is created. Who asks while a cycle is under way gets
 * another one after it. Answers the report of the last cycle. Cycles beside each other do no harm: about each runner one statement decides.
 */
export async function runnerRetentionWorkflow(): Promise<RunnerRetentionReport> {
  let isAskedFor = false;
  setHandler(retainRunnersSignal, () => {
    isAskedFor = true;
  });
  let cycles = 0;
  for (;;) {
    isAskedFor = false;
    const report = await cycle();
    cycles += 1;
    if (!isAskedFor || cycles >= mostCycles) return report;
  }
}

async function cycle(): Promise<RunnerRetentionReport> {
  const endAt = Date.now() + longestMs;
  setCurrentDetails('looking at runners');
  const looked = await runnerRemovals.lookAtRunners();
  if (looked === null) return nothing;
  const waiting = [...looked.toRemove];
  const deleted: string[] = [];
  const failed: { jobName: string; reason: string }[] = [];
  let becameActive = 0;

  async function removeOneAfterAnother(): Promise<void> {
    for (let runner = waiting.shift(); runner !== undefined; runner = waiting.shift()) {
      const { jobName } = runner;
      try {
        const { outcome } = await runnerRemovals.removeRunner({ jobName });
        if (outcome === 'removed') deleted.push(jobName);
        else becameActive += 1;
      } catch (error) {
        failed.push({ jobName, reason: describeFailure(error) });
      }
      setCurrentDetails(`${deleted.length + failed.length} of ${looked?.toRemove.length} runners`);
      if (Date.now() > endAt) return;
    }
  }
  await Promise.all(Array.from({ length: atOnce }, removeOneAfterAnother));

  const { active, unknown, withinLimits } = looked.kept;
  return {
    isEnabled: true,
    examined: looked.examined,
    kept: { active: active + becameActive, unknown, withinLimits },
    deleted,
    failed,
    hasMore: looked.hasMore || waiting.length > 0,
  };
}

const nothing: RunnerRetentionReport = {
  isEnabled: false,
  examined: 0,
  kept: { active: 0, unknown: 0, withinLimits: 0 },
  deleted: [],
  failed: [],
  hasMore: false,
};
