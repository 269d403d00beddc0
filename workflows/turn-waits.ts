import { condition, isCancellation, log } from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import { runners } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import type { TurnState } from './turn-state.js';

type ParkLook = Awaited<ReturnType<RecordActivities['lookAtPark']>>;

/** How long a lost wake-up of a parked turn goes unnoticed. */
const slowLookMs = 600_000;
/** However little is left of the hard limit: a runner gets this time to be ended. */
const leastStopMs = 60_000;

/**
 * Ends a runner and proves it gone, before another one opens the same thread; tried for what is left of the hard limit (architecture.md 4.2,
 * Retry). Answers `not-gone` when that was not enough: a node that is away has to come back or be tainted first.
 */
export async function proveGone(
  turn: TurnState,
  jobName: string,
  hardLeftMs: number,
): Promise<'gone' | 'not-gone' | 'cancelled'> {
  turn.show('retrying', `ending ${jobName} before the next attempt`);
  try {
    const ended = await turn.unlessCancelled(async () => {
      await runners.stopRunner.executeWithOptions(
        { summary: `end ${jobName}`, scheduleToCloseTimeout: Math.max(leastStopMs, hardLeftMs) },
        [{ jobName }],
      );
      return 'gone' as const;
    });
    return ended;
  } catch (error) {
    if (isCancellation(error)) throw error;
    log.warn('the runner cannot be proven gone', { jobName, error: describeFailure(error) });
    return 'not-gone';
  }
}

/** Waits for the time of the next attempt. A cancel ends the wait; what it means is found when that attempt is written. */
export async function backOff(turn: TurnState, delayMs: number): Promise<void> {
  if (delayMs < 1) return;
  const seen = turn.wakeUps;
  turn.show('retrying', `the next attempt begins in ${Math.round(delayMs / 100) / 10} s`);
  await condition(() => turn.cancelRequested || turn.wakeUps !== seen, delayMs);
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
