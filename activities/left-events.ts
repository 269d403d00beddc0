import { Context } from '@temporalio/activity';
import type { SessionStorage, SpilledAttempt } from '../infra/storage/session-storage.js';
import { keepLeftEvents, sessionOfRunner, wasServedBy } from '../store/left-events.js';
import type { Pool } from '../store/pool.js';

/**
 * After a runner is proven gone: what it could not send goes to quarantine, whether another attempt follows or not (architecture.md 5). What cannot be
 * read is left where it is.
 *
 * @throws what the store throws: the step is repeated, and every event is kept once.
 */
export async function keepWhatWasLeft(pool: Pool, storage: SessionStorage, jobName: string): Promise<void> {
  const { log } = Context.current();
  const sessionId = await sessionOfRunner(pool, jobName);
  if (sessionId === undefined) return;
  const found = await storage.spills(sessionId).catch((error: unknown) => {
    log.warn('what the runner left was not looked at', { jobName, error });
    return [];
  });
  for (const spill of found) {
    if (!(await wasServedBy(pool, spill, jobName))) continue;
    const { runId, epoch } = spill;
    let isRead = true;
    let events = 0;
    const onUnreadable = (error: unknown) => {
      isRead = false;
      log.warn('events that a runner left cannot be read', { runId, epoch, error });
    };
    for await (const lines of readable(spill, onUnreadable)) {
      events += await keepLeftEvents(pool, { runId, epoch }, lines);
    }
    if (!isRead) continue;
    if (events > 0) log.warn('kept what a runner left', { runId, epoch, events });
    await spill.remove();
  }
}

/** Ends early at what cannot be read; what the consumer throws is its own. */
async function* readable(spill: SpilledAttempt, onUnreadable: (error: unknown) => void) {
  try {
    yield* spill.batches();
  } catch (error) {
    onUnreadable(error);
  }
}
