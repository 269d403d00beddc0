import {
  type ProducedEvent,
  steerDeliveryPayloadSchema,
  userMessagePayloadSchema,
} from '../contract/events.js';
import type { Transaction } from './pool.js';

/** What an event says about a command on its way to the agent. */
export interface Delivery {
  readonly commandId: string;
  readonly delivery: 'delivered' | 'rejected';
}

/**
 * The commands whose fate a batch reports. A `user_message` with our id in the agent's thread is the proof of delivery; an acknowledged
 * call is not (architecture.md 5, "Delivered is not accepted").
 */
export function deliveriesIn(events: readonly ProducedEvent[]): Delivery[] {
  return events.flatMap((event): Delivery[] => {
    if (event.type === 'user_message') {
      const message = userMessagePayloadSchema.pick({ commandId: true }).safeParse(event.payload);
      const commandId = message.data?.commandId ?? null;
      return commandId === null ? [] : [{ commandId, delivery: 'delivered' }];
    }
    if (event.type !== 'steer_delivery') return [];
    const steer = steerDeliveryPayloadSchema.safeParse(event.payload);
    return steer.data?.delivery === 'rejected'
      ? [{ commandId: steer.data.commandId, delivery: 'rejected' }]
      : [];
  });
}

/** The agent's thread that a batch says was opened. Stored before the turn's end: a runner that is lost does not take it along. */
export function threadIdIn(events: readonly ProducedEvent[]): string | null {
  const opened = events.findLast(
    (event) => event.type === 'backend_status' && event.payload.phase === 'thread-opened',
  );
  const threadId = opened?.payload.threadId;
  return typeof threadId === 'string' ? threadId : null;
}

/** Stores the fate of commands. The caller holds the lock of the run's row. A terminal state never changes. */
export async function recordDeliveries(
  tx: Transaction,
  runId: string,
  deliveries: readonly Delivery[],
): Promise<void> {
  const idsOf = (delivery: Delivery['delivery']) =>
    deliveries.filter((candidate) => candidate.delivery === delivery).map(({ commandId }) => commandId);
  await tx.query(
    `with delivered as (
       update commands set delivered_at = coalesce(delivered_at, now()), acknowledged_at = coalesce(acknowledged_at, now()),
         state = 'acknowledged', steer_delivery = case when type = 'steer' then 'delivered' end
       where run_id = $1 and command_id = any($2) and state in ('pending', 'acknowledged')
       returning type)
     update runs set status = 'running', started_at = coalesce(started_at, now()), updated_at = now()
      where run_id = $1 and status in ('pending', 'claimed') and exists (select 1 from delivered where type = 'turn')`,
    [runId, idsOf('delivered')],
  );
  // Withdrawn, and yet in the thread: the record says what happened.
  await tx.query(
    `update commands set delivered_at = coalesce(delivered_at, now()), steer_delivery = 'delivered'
      where run_id = $1 and command_id = any($2) and type = 'steer' and state = 'cancelled' and steer_delivery = 'rejected'`,
    [runId, idsOf('delivered')],
  );
  const rejected = idsOf('rejected');
  if (rejected.length === 0) return;
  await tx.query(
    `update commands set steer_delivery = 'rejected', state = 'failed', finished_at = now()
      where run_id = $1 and command_id = any($2) and type = 'steer' and delivered_at is null and state in ('pending', 'acknowledged')`,
    [runId, rejected],
  );
}
