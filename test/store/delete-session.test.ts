import { describe, expect, it } from 'vitest';
import { acceptMessage } from '../../store/accept-message.js';
import { deleteSessionStep } from '../../store/delete-session.js';
import type { SessionGeneration } from '../../store/idle-session.js';
import { withTransaction } from '../../store/pool.js';
import { insertRun } from '../../store/run-rows.js';
import { storeMessage } from '../../store/session-messages.js';
import { beginDeletion } from '../../store/session-storage.js';
import { standingStill } from '../support/standing-still.js';
import { turnSettings } from '../support/turn-rows.js';
import { newSessionId } from '../support/turns.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const insertSession = `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, expires_at)
  values ($1, 'acme', 'web', 'codex', 'pvc', now() + interval '1 day')`;
const addRun = (sessionId: string) =>
  withTransaction(database.pool, (tx) =>
    insertRun(tx, sessionId, {}, { launcher: 'external', traceparent: null }),
  );
const addMessage = (sessionId: string) =>
  storeMessage(database.pool, {
    tenantId: 'acme',
    sessionId,
    route: 'test',
    idempotencyKey: null,
    bodyHash: 'hash',
    body: { payload: { prompt: 'x' }, whenBusy: 'queue', createRunnerJob: true },
    runId: null,
    traceparent: null,
  });
/** A session whose deletion has begun. */
async function marked(): Promise<SessionGeneration> {
  const sessionId = newSessionId();
  await database.pool.query(insertSession, [sessionId]);
  const { generation } = await beginDeletion(database.pool, sessionId);
  return { sessionId, generation };
}
async function deleteWhole(session: SessionGeneration): Promise<void> {
  while ((await deleteSessionStep(database.pool, session)) === 'more');
}
async function count(table: 'sessions' | 'runs' | 'session_messages', sessionId: string): Promise<number> {
  const { rows } = await database.pool.query<{ n: number }>(
    `select count(*)::int as n from ${table} where session_id = $1`,
    [sessionId],
  );
  return rows[0]?.n ?? 0;
}

describe('a step of a deletion that stood still until its id belonged to a new session', () => {
  it('leaves the runs of the new session alone', async () => {
    const session = await marked();
    await standingStill(database.pool, {
      lock: 'lock table runs in access exclusive mode',
      step: () => deleteSessionStep(database.pool, session),
      meanwhile: async (tx) => {
        await tx.query('delete from sessions where session_id = $1', [session.sessionId]);
        await tx.query(insertSession, [session.sessionId]);
        await insertRun(tx, session.sessionId, {}, { launcher: 'external', traceparent: null });
      },
    });
    expect(await count('runs', session.sessionId)).toBe(1);
  });

  it('leaves the row of the new session alone', async () => {
    const session = await marked();
    const step = await standingStill(database.pool, {
      lock: 'select 1 from sessions where session_id = $1 for update',
      sessionId: session.sessionId,
      step: () => deleteSessionStep(database.pool, session),
      meanwhile: async (tx) => {
        await tx.query('delete from sessions where session_id = $1', [session.sessionId]);
        await tx.query(insertSession, [session.sessionId]);
      },
    });
    expect(step).toBe('done');
    expect(await count('sessions', session.sessionId)).toBe(1);
  });

  it('leaves the deletion of the new session to its own steps', async () => {
    const former = await marked();
    await deleteWhole(former);
    await database.pool.query(insertSession, [former.sessionId]);
    const { generation } = await beginDeletion(database.pool, former.sessionId);
    expect(generation).not.toBe(former.generation);
    expect(await deleteSessionStep(database.pool, former)).toBe('done');
    expect(await count('sessions', former.sessionId)).toBe(1);
    await deleteWhole({ sessionId: former.sessionId, generation });
    expect(await count('sessions', former.sessionId)).toBe(0);
  });
});

it('a deletion waits for nobody who decides about a message: that one waits for the session', async () => {
  const session = await marked();
  const { commandId } = await addMessage(session.sessionId);
  await withTransaction(database.pool, async (tx) => {
    await tx.query('select 1 from session_messages where command_id = $1 for update', [commandId]);
    expect(await deleteSessionStep(database.pool, session)).toBe('more');
    expect(await count('session_messages', session.sessionId)).toBe(1);
  });
  const { decision } = await acceptMessage(database.pool, turnSettings, commandId);
  expect(decision).toMatchObject({ decision: 'refused', failureKind: 'not-found' });
  await deleteWhole(session);
  expect(await count('session_messages', session.sessionId)).toBe(0);
});

describe('a run that is added to a session', () => {
  it('is refused when the session is deleted while it waits for it', async () => {
    const sessionId = newSessionId();
    await database.pool.query(insertSession, [sessionId]);
    await expect(
      standingStill(database.pool, {
        lock: 'select 1 from sessions where session_id = $1 for update',
        sessionId,
        step: () => addRun(sessionId),
        meanwhile: async (tx) => {
          await tx.query('delete from sessions where session_id = $1', [sessionId]);
        },
      }),
    ).rejects.toMatchObject({ failureKind: 'not-found' });
  });

  it('is refused when the deletion begins while it waits', async () => {
    const sessionId = newSessionId();
    await database.pool.query(insertSession, [sessionId]);
    await expect(
      standingStill(database.pool, {
        lock: 'select 1 from sessions where session_id = $1 for no key update',
        sessionId,
        step: () => addRun(sessionId),
        meanwhile: async (tx) => {
          await tx.query('update sessions set deleted_at = now() where session_id = $1', [sessionId]);
        },
      }),
    ).rejects.toMatchObject({ failureKind: 'not-found' });
    expect(await count('runs', sessionId)).toBe(0);
  });
});
