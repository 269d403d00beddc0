import { describe, expect, it } from 'vitest';
import { createQueueTaskSchema } from '../../contract/queue.js';
import { acceptMessage } from '../../store/accept-message.js';
import { deleteSessionStep } from '../../store/delete-session.js';
import { cancelTask, dispatchTask, followTask } from '../../store/queue-task-steps.js';
import { createQueueTask, getQueueTask } from '../../store/queue-tasks.js';
import { beginDeletion } from '../../store/session-storage.js';
import { standingStill } from '../support/standing-still.js';
import { turnSettings } from '../support/turn-rows.js';
import { newSessionId, owner } from '../support/turns.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const insertSession = `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, expires_at)
  values ($1, 'acme', 'web', 'codex', 'pvc', now() + interval '1 day')`;
async function newSession(): Promise<string> {
  const sessionId = newSessionId();
  await database.pool.query(insertSession, [sessionId]);
  return sessionId;
}
async function addTask(sessionId: string, tenantId = owner.tenantId): Promise<string> {
  const { task } = await createQueueTask(
    database.pool,
    createQueueTaskSchema.parse({
      ...owner,
      tenantId,
      queue: 'q',
      backendProfile: 'codex',
      prompt: 'x',
      sessionRef: { sessionId },
    }),
    null,
  );
  return task.id;
}
const dispatch = (taskId: string) => dispatchTask(database.pool, taskId, `queueTask/${taskId}`);
const decide = async (commandId: string) =>
  (await acceptMessage(database.pool, turnSettings, commandId)).decision;
async function deleteRows(sessionId: string, generation: string): Promise<void> {
  while ((await deleteSessionStep(database.pool, { sessionId, generation })) === 'more');
}
/** A task whose dispatch did not see the deletion, as a worker of before leaves it. */
async function dispatchedUnseen() {
  const sessionId = await newSession();
  const taskId = await addTask(sessionId);
  const { commandId } = await dispatch(taskId);
  await database.pool.query(`update queue_tasks set state = 'queued' where task_id = $1`, [taskId]);
  const { generation } = await beginDeletion(database.pool, sessionId);
  await database.pool.query(
    `update queue_tasks set state = 'dispatched', terminal_status = null, failure_kind = null, failure_message = null, finished_at = null
      where task_id = $1`,
    [taskId],
  );
  return { sessionId, taskId, commandId, generation };
}

describe('a queued task of a session that is deleted', () => {
  it('is cancelled with the mark and never makes the session again', async () => {
    const sessionId = await newSession();
    const taskId = await addTask(sessionId);
    const { generation } = await beginDeletion(database.pool, sessionId);
    expect(await getQueueTask(database.pool, taskId)).toMatchObject({
      state: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: `session ${sessionId} was deleted`,
    });
    await deleteRows(sessionId, generation);
    await expect(dispatch(taskId)).rejects.toMatchObject({ failureKind: 'conflict' });
    expect(await followTask(database.pool, taskId)).toMatchObject({ state: 'cancelled', terminal: true });
  });

  it('is not made while the session is being deleted; another tenant is not told of it', async () => {
    const sessionId = await newSession();
    await beginDeletion(database.pool, sessionId);
    await expect(addTask(sessionId)).rejects.toMatchObject({ failureKind: 'conflict' });
    await expect(addTask(sessionId, 'other')).rejects.toMatchObject({ failureKind: 'not-found' });
  });

  it('is not dispatched when its dispatch waits for the deletion', async () => {
    const sessionId = await newSession();
    const taskId = await addTask(sessionId);
    await expect(
      standingStill(database.pool, {
        lock: 'select 1 from sessions where session_id = $1 for no key update',
        sessionId,
        step: () => dispatch(taskId),
        meanwhile: async (tx) => {
          await tx.query('update sessions set deleted_at = now() where session_id = $1', [sessionId]);
        },
      }),
    ).rejects.toMatchObject({ failureKind: 'conflict' });
    expect(await followTask(database.pool, taskId)).toMatchObject({ state: 'queued' });
  });
});

describe('a dispatched task', () => {
  it('keeps its session from being deleted', async () => {
    const sessionId = await newSession();
    await dispatch(await addTask(sessionId));
    await expect(beginDeletion(database.pool, sessionId)).rejects.toMatchObject({
      failureKind: 'session-busy',
    });
  });

  it('that the deletion did not see has failed with its message, decided or not', async () => {
    for (const isDecided of [false, true]) {
      const { sessionId, taskId, commandId, generation } = await dispatchedUnseen();
      if (isDecided) await decide(commandId);
      await deleteRows(sessionId, generation);
      expect(await getQueueTask(database.pool, taskId)).toMatchObject({ state: 'failed' });
      expect(await decide(commandId)).toMatchObject({ decision: 'refused' });
      expect(await followTask(database.pool, taskId)).toMatchObject({ state: 'failed', terminal: true });
      await database.pool.query(insertSession, [sessionId]);
      await beginDeletion(database.pool, sessionId);
    }
  });

  it('whose message is gone ends when somebody follows or cancels it', async () => {
    for (const [end, look] of [
      ['failed', followTask],
      ['cancelled', (pool: typeof database.pool, taskId: string) => cancelTask(pool, taskId, null)],
    ] as const) {
      const taskId = await addTask(await newSession());
      const { commandId } = await dispatch(taskId);
      await database.pool.query('delete from session_messages where command_id = $1', [commandId]);
      expect(await look(database.pool, taskId)).toMatchObject({ state: end, terminal: true, runId: null });
      expect(await followTask(database.pool, taskId)).toMatchObject({ state: end, terminal: true });
    }
  });

  it('is followed to its message by a look that waits for the dispatch', async () => {
    const taskId = await addTask(await newSession());
    const followed = await standingStill(database.pool, {
      lock: `select 1 from queue_tasks where task_id = '${taskId}' for update`,
      step: () => followTask(database.pool, taskId),
      meanwhile: async (tx) => {
        await tx.query(
          `insert into session_messages (command_id, tenant_id, session_id, route, idempotency_key, body_hash, body)
           values ($1, 'acme', 'any', 'queue-task', $1, 'h', '{}')`,
          [`cmd-${taskId}`],
        );
        await tx.query(
          `update queue_tasks set state = 'dispatched', latest_command_id = $2 where task_id = $1`,
          [taskId, `cmd-${taskId}`],
        );
      },
    });
    expect(followed).toEqual({ state: 'dispatched', terminal: false, runId: null });
  });
});
