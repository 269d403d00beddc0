import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
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

const keep = (jobName: string) =>
  new MockActivityEnvironment().run(() => keepWhatWasLeft(database.pool, storage, jobName));

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

  it('without files is nothing', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    await keep(jobNameOf(runId, 1));
    mkdirSync(sessionFolders(storageDataDir(), sessionId).root, { recursive: true });
    await keep(jobNameOf(runId, 1));
    expect(await quarantined(runId)).toEqual([]);
  });
});
