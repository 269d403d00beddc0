import type { Queryable } from './pool.js';

/** How long the word of a process counts that says nothing more, in milliseconds; three times as long as it takes to say it again. */
export const watcherTtlMs = 45_000;

/** SQL: whether somebody reads the stream of the run with the id `runId` (a column or parameter). */
export const watchedSql = (runId: string) =>
  `exists (select 1 from run_watchers w where w.run_id = ${runId} and w.expires_at > now())`;

/** This process has readers of these runs; said again before {@link watcherTtlMs} is over. */
export async function saveWatched(
  db: Queryable,
  processId: string,
  runIds: readonly string[],
): Promise<void> {
  // In one order, so that two such statements never wait for each other.
  await db.query(
    `insert into run_watchers (run_id, process_id, expires_at)
     select w.run_id, $1, now() + $3::int * interval '1 millisecond' from unnest($2::text[]) as w(run_id) order by w.run_id
     on conflict (run_id, process_id) do update set expires_at = excluded.expires_at`,
    [processId, runIds, watcherTtlMs],
  );
}

/** This process has no reader of these runs any more. */
export async function dropWatched(
  db: Queryable,
  processId: string,
  runIds: readonly string[],
): Promise<void> {
  await db.query('delete from run_watchers where process_id = $1 and run_id = any($2::text[])', [
    processId,
    runIds,
  ]);
}

/** Removes what processes left that have ended without a word. */
export async function dropExpiredWatchers(db: Queryable): Promise<void> {
  await db.query('delete from run_watchers where expires_at < now()');
}
