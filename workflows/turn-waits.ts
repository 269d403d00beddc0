import { condition, isCancellation, log, patched } from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import type { RetryFacts } from '../domain/retry-decision.js';
import { runners } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import type { TurnState } from './turn-state.js';

type ParkLook = Awaited<ReturnType<RecordActivities['lookAtPark']>>;

/** How long a lost wake-up of a parked turn goes unnoticed. */
const slowLookMs = 600_000;
/** However little is left of the limits: a runner gets this time to be ended. */
const leastStopMs = 60_000;

/**
 * `not-gone`: what is left of the hard limit was not enough, a node that is away has to come back or be tainted first. `deadline-exceeded`: the
 * deadline of the turn comes before the hard limit, and was not enough.
 */
export type Stopped = 'gone' | 'not-gone' | 'deadline-exceeded' | 'cancelled';

/**
 * Ends a runner and proves it gone, before another one opens the same thread; tried for what is left of the hard limit and of the deadline
 * (architecture.md 4.2, Retry).
 */
export async function proveGone(
  turn: TurnState,
  jobName: string,
  left: Pick<RetryFacts, 'hardLeftMs' | 'deadlineLeftMs'>,
): Promise<Stopped> {
  const { hardLeftMs } = left;
  const deadlineLeftMs = left.deadlineLeftMs ?? Number.POSITIVE_INFINITY;
  const leftMs = Math.max(leastStopMs, Math.min(hardLeftMs, deadlineLeftMs));
  turn.show('retrying', `ending ${jobName} before the next attempt`);
  try {
    const ended = await turn.unlessCancelled(async () => {
      await runners.stopRunner.executeWithOptions(
        { summary: `end ${jobName}`, scheduleToCloseTimeout: leftMs },
        [{ jobName }],
      );
      return 'gone' as const;
    });
    return ended;
  } catch (error) {
    if (isCancellation(error)) throw error;
    log.warn('the runner cannot be proven gone', { jobName, error: describeFailure(error) });
    // Histories of before failed the turn that was cancelled meanwhile.
    if (turn.cancelRequested && patched('cancel-before-not-gone')) return 'cancelled';
    return deadlineLeftMs < hardLeftMs ? 'deadline-exceeded' : 'not-gone';
  }
}

/** Waits for the time of the next attempt. Only a cancel ends the wait; what it means is found when that attempt is written. */
export async function backOff(turn: TurnState, delayMs: number): Promise<void> {
  if (delayMs < 1) return;
  const seen = turn.wakeUps;
  turn.show('retrying', `the next attempt begins in ${Math.round(delayMs / 100) / 10} s`);
  // In former histories an answer ended the wait too.
  const isWoken = patched('only-cancel-ends-back-off') ? () => false : () => turn.wakeUps !== seen;
  await condition(() => turn.cancelRequested || isWoken(), delayMs);
}

/** Waits until a parked turn goes on: its time is over, a person has answered, or it is ended. */
export async function waitParked(
  turn: TurnState,
  epoch: number,
): Promise<Exclude<ParkLook, { state: 'parked' }>['state']> {
  const { runId } = turn.input;
  for (;;) {
    const seen = turn.wakeUps;
    const look = await turn.records.lookAtPark({ runId, epoch });
    if (look.state !== 'parked') return look.state;
    if (look.reason === 'person') turn.show('waiting', 'parked: waits for a person');
    else turn.show('parked', "parked: waits for a provider's limit");
    await turn.continueAsNewIfFull();
    await condition(() => turn.wakeUps !== seen, Math.min(look.waitMs ?? slowLookMs, slowLookMs));
  }
}
