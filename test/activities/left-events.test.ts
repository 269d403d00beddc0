import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keepWhatWasLeft } from '../../activities/left-events.js';
import { sessionFolders } from '../../infra/launchers/local-folders.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import { EventQueue } from '../../runner/supervisor/event-queue.js';
import { EventSpill } from '../../runner/supervisor/event-spill.js';
import { RunFolder } from '../../runner/supervisor/run-folder.js';
import { jobNameOf } from '../../store/attempts.js';
import { keepLeftEvents } from '../../store/left-events.js';
import { withTransaction } from '../../store/pool.js';
import { mostQuarantined } from '../../store/quarantine.js';
import { getRunResult } from '../../store/run-results.js';
import { storageDataDir } from '../support/fake-storage.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { storeTurn } from '../support/turn-rows.js';

let postgres: TestPostgres;
let database: TestDatabase;
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
});
afterAll(() => postgres?.stop());

const storage = new DirectoryStorage(storageDataDir());
const quiet = { warn: () => undefined };
/** Longer than a segment holds, so that there are several. */
const limits = { bytes: 1_000_000, segmentBytes: 2_000 };

/** What a runner's supervisor leaves when it is killed with `count` events that the API did not take. */
function leave(sessionId: string, runId: string, count: number, epoch = 1): RunFolder {
  const folder = new RunFolder(sessionFolders(storageDataDir(), sessionId).supervisor, runId, quiet);
  const queue = new EventQueue({ journal: new EventSpill(folder.path, epoch, quiet, limits) });
  for (let index = 1; index <= count; index += 1)
    queue.add({ type: 'agent_message', payload: { itemId: 'i', text: `left ${index}` } });
  return folder;
}

const keep = (jobName: string, limitMs?: number) =>
  new MockActivityEnvironment().run(() => keepWhatWasLeft(database.pool, storage, jobName, limitMs));

/** Holds the run, so that nothing is stored of it, while `work` goes on. */
async function whileHeld(runId: string, work: () => Promise<unknown>): Promise<void> {
  await withTransaction(database.pool, async (tx) => {
    await tx.query('select 1 from runs where run_id = $1 for update', [runId]);
    await work();
  });
}

async function quarantined(runId: string) {
  const { rows } = await database.pool.query<{ seq: number; reason: string; text: string }>(
    `select producer_seq as seq, reason, event -> 'payload' ->> 'text' as text
       from quarantined_events where run_id = $1 order by producer_seq`,
    [runId],
  );
  return rows;
}

describe('what a runner that is gone left', () => {
  it('goes to quarantine once and is counted in the result, also when no attempt follows', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const folder = leave(sessionId, runId, 50);
    expect(readdirSync(folder.path).length).toBeGreaterThan(2);
    const jobName = jobNameOf(runId, 1);
    await keep(jobName);
    const expected = Array.from({ length: 50 }, (_, index) => ({
      seq: index + 1,
      reason: 'fenced',
      text: `left ${index + 1}`,
    }));
    expect(await quarantined(runId)).toEqual(expected);
    expect(readdirSync(folder.path)).toEqual([]);
    // As a step that was cut off before the files were removed.
    leave(sessionId, runId, 50);
    await keep(jobName);
    expect(await quarantined(runId)).toEqual(expected);
    expect((await getRunResult(database.pool, runId, undefined)).late).toBe(50);
  });

  it('after the end of the run is told as such', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    leave(sessionId, runId, 1);
    await database.pool.query(
      `update runs set terminal_status = 'failed', status = 'failed' where run_id = $1`,
      [runId],
    );
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toEqual([{ seq: 1, reason: 'after-terminal', text: 'left 1' }]);
  });

  it('of another runner is not touched', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const folder = leave(sessionId, runId, 3, 2);
    await keep(jobNameOf(runId, 1));
    await keep('nobody');
    expect(await quarantined(runId)).toEqual([]);
    expect(readdirSync(folder.path)).toHaveLength(1);
  });

  it('and cannot be read stays where it is; a link is not followed', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const folder = leave(sessionId, runId, 2);
    symlinkSync(folder.path, join(folder.path, '..', 'run_00000000000000000000000000'));
    execFileSync('mkfifo', [join(folder.path, 'events-1.7.ndjson')]);
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toEqual([]);
    rmSync(join(folder.path, 'events-1.7.ndjson'));
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toHaveLength(2);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('with ids that Postgres cannot hold is kept as well', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const { path } = leave(sessionId, runId, 1);
    const payload = { requestId: 'a\0b', resolution: 'approved', reason: null };
    appendFileSync(
      join(path, 'events-1.ndjson'),
      `${JSON.stringify({ seq: 2, event: { type: 'approval_resolved', payload } })}\n`,
    );
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toHaveLength(2);
    expect(readdirSync(path)).toEqual([]);
  });

  it('and is not taken stays where it is, without an error, and is tried again first', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const folder = leave(sessionId, runId, 2);
    await whileHeld(runId, () => keep(jobNameOf(runId, 1)));
    expect(await quarantined(runId)).toEqual([]);
    const soon = setTimeout(() => expect.fail('it took longer than its limit'), 2_000);
    await whileHeld(runId, () => keep(jobNameOf(runId, 1), 100));
    clearTimeout(soon);
    expect(readdirSync(folder.path)).toHaveLength(1);
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toHaveLength(2);
  });

  it('is counted to its end, and kept up to a limit of the run', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    const { path } = leave(sessionId, runId, 0);
    const event = { type: 'agent_message', payload: { text: 'x' } };
    const count = mostQuarantined + 1_500;
    const lines = Array.from({ length: count }, (_, index) => JSON.stringify({ seq: index + 1, event }));
    writeFileSync(join(path, 'events-1.ndjson'), lines.join('\n'));
    await keep(jobNameOf(runId, 1));
    const kept = await quarantined(runId);
    expect([kept.length, kept.at(-1)?.seq]).toEqual([mostQuarantined, mostQuarantined]);
    expect((await getRunResult(database.pool, runId, undefined)).late).toBe(count);
    // What is kept is known when it comes again.
    const pool = database.pool;
    const again = Array.from({ length: 900 }, (_, index) => ({
      seq: index + 1,
      event: { type: 'agent_message' as const, payload: {} },
    }));
    expect(await keepLeftEvents(pool, { runId, epoch: 1 }, again)).toBe(0);
  });

  it('without files is nothing', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    await keep(jobNameOf(runId, 1));
    mkdirSync(sessionFolders(storageDataDir(), sessionId).root, { recursive: true });
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toEqual([]);
  });
});
