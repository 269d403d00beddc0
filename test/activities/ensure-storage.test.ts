import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createStorageActivities } from '../../activities/storage.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import type { MadePhase } from '../../infra/storage/session-storage.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { newSessionId } from '../support/turns.js';

let postgres: TestPostgres;
let database: TestDatabase;
let dataDir: string;
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  dataDir = mkdtempSync(join(tmpdir(), 'agentrun-ensure-test-'));
});
afterAll(async () => {
  rmSync(dataDir, { recursive: true, force: true });
  await postgres?.stop();
});

/** A machine that stands still between the look at the records and the making of the folders. */
class FrozenStorage extends DirectoryStorage {
  meanwhile: () => Promise<void> = async () => undefined;

  override async ensure(sessionId: string): Promise<MadePhase> {
    await this.meanwhile();
    return super.ensure(sessionId);
  }
}

const insert = (sessionId: string) =>
  database.pool.query(
    `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, storage_pvc_phase, expires_at)
     values ($1, 'acme', 'web', 'codex', 'pvc', 'Pending', now() + interval '1 day')`,
    [sessionId],
  );

async function ensured(sessionId: string, meanwhile: () => Promise<void>): Promise<unknown> {
  const storage = new FrozenStorage(dataDir);
  storage.meanwhile = meanwhile;
  const activities = createStorageActivities({ pool: database.pool, storage, client: new Client() });
  return new MockActivityEnvironment()
    .run(() => activities.ensureStorage({ sessionId }))
    .then(
      () => 'made',
      (error: unknown) => error,
    );
}

it.each([
  ['evicted', "update sessions set storage_kind = 'evicted' where session_id = $1"],
  ['deleted', 'delete from sessions where session_id = $1'],
])('folders that are made after the session was %s are taken away again', async (_name, removal) => {
  const sessionId = newSessionId();
  await insert(sessionId);
  const outcome = await ensured(sessionId, async () => {
    await database.pool.query(removal, [sessionId]);
  });
  expect(outcome).toMatchObject({ type: 'session-store-evicted' });
  expect(existsSync(join(dataDir, 'sessions', sessionId))).toBe(false);
});

it('a new session of the same id keeps its files', async () => {
  const sessionId = newSessionId();
  await insert(sessionId);
  const file = join(dataDir, 'sessions', sessionId, 'agent', 'home', 'memory');
  await ensured(sessionId, async () => {
    await database.pool.query('delete from sessions where session_id = $1', [sessionId]);
    await insert(sessionId);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, 'kept');
  });
  expect(existsSync(file)).toBe(true);
});
