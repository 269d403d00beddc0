import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createStorageActivities } from '../../activities/storage.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import type { Queryable } from '../../store/pool.js';
import { beginDeletion, beginEviction } from '../../store/session-storage.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { standingStill } from '../support/standing-still.js';
import { newSessionId } from '../support/turns.js';
import { Harness } from '../workflows/harness.js';

let postgres: TestPostgres;
let database: TestDatabase;
let harness: Harness;
const dataDir = mkdtempSync(join(tmpdir(), 'agentrun-remove-'));
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
  await postgres?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const rootOf = (sessionId: string) => join(dataDir, 'sessions', sessionId);
const memoryOf = (sessionId: string) => join(rootOf(sessionId), 'agent/home/rollout');
const insertSession = (db: Queryable, sessionId: string) =>
  db.query(
    `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, storage_pvc_phase, expires_at)
     values ($1, 'acme', 'web', 'codex', 'pvc', 'Bound', now() + interval '1 day')`,
    [sessionId],
  );
async function newSession(): Promise<string> {
  const sessionId = newSessionId();
  await insertSession(database.pool, sessionId);
  await new DirectoryStorage(dataDir).ensure(sessionId);
  writeFileSync(memoryOf(sessionId), 'memory');
  return sessionId;
}
/** The next session that has the id: its row and its files. */
async function anotherOf(db: Queryable, sessionId: string): Promise<void> {
  await db.query('delete from sessions where session_id = $1', [sessionId]);
  await insertSession(db, sessionId);
  await new DirectoryStorage(dataDir).ensure(sessionId);
  writeFileSync(memoryOf(sessionId), 'memory of the next');
}
const removeStorage = (
  session: { sessionId: string; generation: string },
  storage = new DirectoryStorage(dataDir),
) =>
  new MockActivityEnvironment().run(() =>
    createStorageActivities({ pool: database.pool, storage, client: harness.client }).removeStorage(session),
  );
async function phaseOf(sessionId: string): Promise<(string | null)[]> {
  const { rows } = await database.pool.query<{ phase: string | null }>(
    'select storage_pvc_phase as phase from sessions where session_id = $1',
    [sessionId],
  );
  return rows.map(({ phase }) => phase);
}

describe('removing the files of a session', () => {
  it('takes them aside and deletes them, and may be repeated', async () => {
    const sessionId = await newSession();
    const { generation } = await beginEviction(database.pool, sessionId, { onlyIfExpired: false });
    for (let time = 1; time <= 2; time += 1) {
      await removeStorage({ sessionId, generation });
      expect(existsSync(rootOf(sessionId))).toBe(false);
      expect(readdirSync(join(dataDir, 'sessions/.trash'))).toEqual([]);
      expect(await phaseOf(sessionId)).toEqual([null]);
    }
  });

  it('leaves them alone without a mark', async () => {
    const sessionId = await newSession();
    const { generation } = await beginDeletion(database.pool, sessionId);
    await anotherOf(database.pool, sessionId);
    await removeStorage({ sessionId, generation });
    expect(existsSync(memoryOf(sessionId))).toBe(true);
  });

  it('leaves those of the next session of the id alone when it stood still before its check', async () => {
    const sessionId = await newSession();
    const { generation } = await beginDeletion(database.pool, sessionId);
    await standingStill(database.pool, {
      lock: 'select 1 from sessions where session_id = $1 for update',
      sessionId,
      step: () => removeStorage({ sessionId, generation }),
      meanwhile: (tx) => anotherOf(tx, sessionId),
    });
    expect(existsSync(memoryOf(sessionId))).toBe(true);
  });

  it('leaves those of the next session of the id alone when it stood still in the middle', async () => {
    const sessionId = await newSession();
    const { generation } = await beginDeletion(database.pool, sessionId);
    class Slow extends DirectoryStorage {
      override async removeDiscarded(id: string, of: string, signal?: AbortSignal): Promise<void> {
        await removeStorage({ sessionId, generation });
        await anotherOf(database.pool, sessionId);
        await super.removeDiscarded(id, of, signal);
      }
    }
    await removeStorage({ sessionId, generation }, new Slow(dataDir));
    expect(existsSync(memoryOf(sessionId))).toBe(true);
    expect(await phaseOf(sessionId)).toEqual(['Bound']);
  });

  it('also removes a folder that was made again in between', async () => {
    const sessionId = await newSession();
    const storage = new DirectoryStorage(dataDir);
    const { generation } = await beginEviction(database.pool, sessionId, { onlyIfExpired: false });
    await storage.discard(sessionId, generation);
    await storage.ensure(sessionId);
    await removeStorage({ sessionId, generation });
    expect(existsSync(rootOf(sessionId))).toBe(false);
    expect(readdirSync(join(dataDir, 'sessions/.trash'))).toEqual([]);
  });
});
