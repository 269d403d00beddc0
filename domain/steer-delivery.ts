import type { CommandState, SteerDelivery } from '../contract/states.js';
import type { SteerDeliveryView } from '../contract/supervisor.js';
import { isoOf } from './run-facts.js';

/** A steer as its command's row holds it. */
export interface SteerFacts {
  readonly commandId: string;
  readonly state: CommandState;
  readonly recorded: SteerDelivery | null;
  readonly createdAtMs: number;
  readonly acknowledgedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number | null;
  readonly nextCommandId: string | null;
}

/**
 * Where a steer is on its way to the agent (decisions.md, Liveness phase; contract.md 7.8). The first matching row wins; every steer ends in one of
 * the last states.
 *
 * | # | condition | delivery |
 * |---|---|---|
 * | 1 | its message was seen in the thread | `delivered` |
 * | 2 | recorded as `rejected`: withdrawn, or refused by the agent | `rejected` |
 * | 3 | recorded as `next-turn`: the turn had ended first | `next-turn` |
 * | 4 | the driver's call was answered | `acknowledged` |
 * | 5 | it ended otherwise | `rejected` |
 * | 6 | else | `pending` |
 */
export function steerDelivery(steer: SteerFacts): SteerDelivery {
  if (steer.deliveredAtMs !== null) return 'delivered';
  if (steer.recorded === 'rejected' || steer.recorded === 'next-turn') return steer.recorded;
  if (steer.state === 'acknowledged') return 'acknowledged';
  return steer.state === 'pending' ? 'pending' : 'rejected';
}

const reasons: Readonly<Record<SteerDelivery, string>> = {
  pending: 'no runner has taken the message yet',
  acknowledged: 'the agent has taken the message; it was not seen in its thread yet',
  delivered: 'the message was seen in the thread of the agent',
  'next-turn': 'the turn ended first; the message is the next turn',
  rejected: 'the message was withdrawn, or the agent refused it',
};

/** The view of a run's newest steer. */
export function steerDeliveryView(steer: SteerFacts): SteerDeliveryView {
  const delivery = steerDelivery(steer);
  const since: Readonly<Record<SteerDelivery, number | null>> = {
    pending: steer.createdAtMs,
    acknowledged: steer.acknowledgedAtMs,
    delivered: steer.deliveredAtMs,
    'next-turn': steer.finishedAtMs,
    rejected: steer.finishedAtMs,
  };
  return {
    commandId: steer.commandId,
    delivery,
    since: isoOf(since[delivery]),
    nextCommandId: steer.nextCommandId,
    reason: reasons[delivery],
    valuesPrinted: false,
  };
}
