import { isCancellation, setCurrentDetails } from '@temporalio/workflow';
import { retention } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import type { EventRetentionReport } from './messages.js';

/**
 * One cycle over the log (docs/adr/0005): partitions of the coming months are made, months all of whose runs ended long enough ago are dropped, and old
 * events that never got a partition are deleted. What fails stops nothing else. A cycle that is begun anew finds done what was done.
 */
export async function eventRetentionWorkflow(): Promise<EventRetentionReport> {
  const failed: { step: string; reason: string }[] = [];
  async function attempt<T>(step: string, otherwise: T, work: () => Promise<T>): Promise<T> {
    setCurrentDetails(step);
    try {
      return await work();
    } catch (error) {
      if (isCancellation(error)) throw error;
      failed.push({ step, reason: describeFailure(error) });
      return otherwise;
    }
  }

  const made = await attempt<readonly string[]>('making partitions', [], () =>
    retention.makeEventPartitions(),
  );
  const { retentionDays, months } = await attempt(
    'looking at months',
    { retentionDays: null, months: [] },
    () => retention.listPastEventMonths(),
  );
  const dropped: string[] = [];
  const kept: { month: string; reason: string }[] = [];
  for (const month of months) {
    const end = await attempt(`dropping ${month}`, null, () => retention.dropEventMonth({ month }));
    if (end?.outcome === 'dropped') dropped.push(month);
    if (end?.outcome === 'kept') kept.push({ month, reason: end.reason });
  }
  const none = { deleted: 0, kept: 0 };
  const withoutPartition =
    retentionDays === null
      ? none
      : await attempt('deleting events without a partition', none, () => retention.trimDefaultEvents());
  return { retentionDays, made, examined: months.length, dropped, kept, withoutPartition, failed };
}
