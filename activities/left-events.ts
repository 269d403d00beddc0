import { setTimeout as pause } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import pg from 'pg';
import type { IngestLine } from '../contract/ingest.js';
import type { SessionStorage } from '../infra/storage/session-storage.js';
import { attemptsOfRunner, keepLeftEvents, type ServedAttempt } from '../store/left-events.js';
import type { Pool } from '../store/pool.js';
import { refusalOf } from './final-errors.js';

/** For all that one runner left. */
const longestMs = 30_000;
/** Of one batch, when the database may take it the next time. */
const tries = 3;
const retryMs = 300;

/**
 * After a runner is proven gone: what it could not send goes to quarantine, whether another attempt follows or not (architecture.md 5). The files are
 * what an agent may have made of them, and nothing waits for them: what cannot be read, cannot be stored or takes too long stays where it is, with a line
 * in the log. Every event is kept once. Never rejects.
 */
export async function keepWhatWasLeft(
  pool: Pool,
  storage: SessionStorage,
  jobName: string,
  limitMs: number = longestMs,
): Promise<void> {
  const { log } = Context.current();
  const signal = AbortSignal.timeout(limitMs);
  // A disk that does not answer hears no signal.
  const late = new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(new Error(`it took longer than ${limitMs} ms`)), {
      once: true,
    }),
  );
  try {
    await Promise.race([keepAll(pool, storage, jobName, signal), late]);
  } catch (error) {
    log.warn('what a runner left was not looked at to its end', { jobName, reason: reasonOf(error) });
  }
}

async function keepAll(
  pool: Pool,
  storage: SessionStorage,
  jobName: string,
  signal: AbortSignal,
): Promise<void> {
  for (const attempt of await attemptsOfRunner(pool, jobName)) {
    signal.throwIfAborted();
    try {
      await keepOf(pool, storage, attempt, signal);
    } catch (error) {
      const { runId, epoch } = attempt;
      const reason = reasonOf(error);
      Context.current().log.warn('what a runner left stays where it is', { runId, epoch, reason });
    }
  }
}

async function keepOf(
  pool: Pool,
  storage: SessionStorage,
  attempt: ServedAttempt,
  signal: AbortSignal,
): Promise<void> {
  const { log } = Context.current();
  const { sessionId, runId, epoch } = attempt;
  const onTooLong = (lines: number) => {
    log.warn('lines that a runner left are too long: they are left out', { runId, epoch, lines });
  };
  await storage.withSpill(sessionId, attempt, async (spill) => {
    let events = 0;
    for await (const lines of spill.batches({ signal, onTooLong }))
      events += await keepBatch(pool, attempt, lines, signal);
    if (events > 0) log.warn('kept what a runner left', { runId, epoch, events });
    await spill.remove();
  });
}

async function keepBatch(
  pool: Pool,
  { runId, epoch }: ServedAttempt,
  lines: readonly IngestLine[],
  signal: AbortSignal,
): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await keepLeftEvents(pool, { runId, epoch }, lines);
    } catch (error) {
      if (attempt >= tries || refusalOf('keepWhatWasLeft', error) !== undefined) throw error;
      const reason = reasonOf(error);
      Context.current().log.warn('what a runner left was not taken', {
        runId,
        epoch,
        attempt,
        tries,
        reason,
      });
      await pause(retryMs * (0.5 + Math.random()) * attempt, undefined, { signal });
    }
  }
}

/** What Postgres says may hold values of the statement. */
function reasonOf(error: unknown): string {
  if (error instanceof pg.DatabaseError) return `Postgres refused it (SQLSTATE ${error.code ?? 'unknown'})`;
  return error instanceof Error ? error.message : String(error);
}
