import { setCurrentDetails } from '@temporalio/workflow';
import { collection, storage } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import type { CollectedSession, StorageGcInput, StorageGcReport } from './messages.js';

const defaultLimit = 200;
/** Sessions that are collected at the same time. */
const atOnce = 8;
/** No further session is begun after this: somebody waits for the report. The rest is found by the next cycle. */
const longestMs = 15_000;

/**
 * One cycle of garbage collection (contract.md 3.9): the storage of sessions that have expired and have nothing to do is evicted, and evictions and deletions
 * that were begun and given up are taken up again. What fails for one session stops no other. Two cycles at once do no harm: each session is decided under
 * its lock by its own workflow.
 */
export async function storageGcWorkflow(input: StorageGcInput): Promise<StorageGcReport> {
  const endAt = Date.now() + longestMs;
  const expired = await storage.listExpiredSessions({
    tenantId: input.tenantId,
    limit: input.limit ?? defaultLimit,
  });
  const waiting = [...expired.toRemove];
  const outcomes: { sessionId: string; collected: CollectedSession }[] = [];

  async function collectOneAfterAnother(): Promise<void> {
    for (let session = waiting.shift(); session !== undefined; session = waiting.shift()) {
      const { sessionId } = session;
      let collected: CollectedSession;
      try {
        collected = await collection.collectSession(session);
      } catch (error) {
        collected = { outcome: 'failed', reason: describeFailure(error) };
      }
      outcomes.push({ sessionId, collected });
      setCurrentDetails(`${outcomes.length} of ${expired.toRemove.length} sessions`);
      if (Date.now() > endAt) return;
    }
  }
  await Promise.all(Array.from({ length: atOnce }, collectOneAfterAnother));

  const withOutcome = (outcome: CollectedSession['outcome']) =>
    outcomes
      .filter(({ collected }) => collected.outcome === outcome)
      .map(({ sessionId, collected: { reason } }) => ({ sessionId, reason }));
  return {
    examined: outcomes.length + expired.busy.length,
    kept: [
      ...withOutcome('kept'),
      ...expired.busy.map((sessionId) => ({ sessionId, reason: 'a turn is active or queued' })),
    ],
    deleted: withOutcome('deleted').map(({ sessionId }) => sessionId),
    failed: withOutcome('failed'),
    hasMore: expired.hasMore || waiting.length > 0,
  };
}
