import { ApplicationFailure, Context } from '@temporalio/activity';
import { dropEventMonth, listPastEventMonths, trimDefaultEvents } from '../store/event-retention.js';
import { withMaintenanceConnection } from '../store/maintenance-connection.js';
import { ensureEventPartitions, eventsWithoutPartition } from '../store/partitions.js';
import type { RetentionActivities } from './index.js';
import { heartbeating } from './runners.js';

export interface RetentionDependencies {
  /** Secret. */
  readonly databaseUrl: string;
  /** Undefined: events are kept for ever. */
  readonly retentionDays: number | undefined;
}

/** Each on a connection of its own: these statements take longer than the pool allows, and wait shorter for locks. */
export function createRetentionActivities({
  databaseUrl,
  retentionDays,
}: RetentionDependencies): RetentionActivities {
  return {
    makeEventPartitions: () =>
      heartbeating('making partitions of events', () =>
        withMaintenanceConnection(databaseUrl, async (client) => {
          const { made, tooLarge } = await ensureEventPartitions(client, Date.now());
          // For the report; those that can be made are made.
          if (tooLarge.length > 0) throw ApplicationFailure.nonRetryable(eventsWithoutPartition(tooLarge));
          return made;
        }),
      ),

    listPastEventMonths: () =>
      heartbeating('looking at the months of the log', async () => ({
        retentionDays: retentionDays ?? null,
        months:
          retentionDays === undefined
            ? []
            : await withMaintenanceConnection(databaseUrl, (client) =>
                listPastEventMonths(client, Date.now()),
              ),
      })),

    dropEventMonth: ({ month }) =>
      heartbeating(`dropping ${month}`, async () =>
        retentionDays === undefined
          ? { outcome: 'kept', reason: 'this worker keeps events for ever' }
          : withMaintenanceConnection(databaseUrl, (client) =>
              dropEventMonth(client, month, retentionDays, Context.current().cancellationSignal),
            ),
      ),

    trimDefaultEvents: () =>
      heartbeating('deleting old events without a partition', async () =>
        retentionDays === undefined
          ? { deleted: 0, kept: 0 }
          : withMaintenanceConnection(databaseUrl, (client) =>
              trimDefaultEvents(client, retentionDays, Context.current().cancellationSignal),
            ),
      ),
  };
}
