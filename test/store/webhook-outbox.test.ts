import { beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createQueueTaskSchema } from '../../contract/queue.js';
import { webhookMessageSchemas } from '../../contract/webhook-messages.js';
import { webhookEventTypes } from '../../contract/webhooks.js';
import { deleteSessionStep } from '../../store/delete-session.js';
import { type Pool, withTransaction } from '../../store/pool.js';
import { cancelTask } from '../../store/queue-task-steps.js';
import { createQueueTask } from '../../store/queue-tasks.js';
import { recordRequestChanges, requestChangesIn } from '../../store/request-events.js';
import { beginDeletion } from '../../store/session-storage.js';
import { finishTurn } from '../../store/turn-steps.js';
import { createTestDelivery, recordTry } from '../../store/webhook-deliveries.js';
import { dueDeliveries } from '../../store/webhook-due.js';
import { tellWebhooks } from '../../store/webhook-outbox.js';
import { deleteWebhook, updateWebhook } from '../../store/webhooks.js';
import { storeTurn } from '../support/turn-rows.js';
import { newSessionId, owner } from '../support/turns.js';
import { usePostgres } from '../support/use-postgres.js';
import { storeWebhook, toldTo } from '../support/webhook-rows.js';

const postgres = await usePostgres();
let pool: Pool;
beforeEach(async () => {
  ({ pool } = await postgres.newDatabase());
});

const failed = {
  terminalStatus: 'failed',
  failureKind: 'agent-error',
  failureMessage: 'WORDS-OF-AN-AGENT',
} as const;
async function endedRun(): Promise<string> {
  const { runId } = await storeTurn(pool, { prompt: 'WORDS-OF-A-PERSON' });
  await finishTurn(pool, runId, failed);
  return runId;
}
async function addTask(sessionId?: string): Promise<string> {
  const body = createQueueTaskSchema.parse({
    ...owner,
    prompt: 'WORDS-OF-A-PERSON',
    labels: { team: 'core' },
    ...(sessionId === undefined ? {} : { sessionRef: { sessionId } }),
  });
  return (await createQueueTask(pool, body, null)).task.id;
}
/** The facts of a message. They are those that the contract names, and no others. */
const data = async (sourceId: string): Promise<Record<string, unknown> | undefined> => {
  const found = await pool.query<{ type: string; data: Record<string, unknown> }>(
    'select event_type as type, data from webhook_deliveries where source_id = $1',
    [sourceId],
  );
  for (const row of found.rows) {
    const sent = { type: row.type, timestamp: 't', data: { webhookId: 'whk_1', ...row.data } };
    expect(anyMessageSchema.parse(sent)).toEqual(sent);
  }
  return found.rows[0]?.data;
};
const anyMessageSchema = z.union(Object.values(webhookMessageSchemas));

describe('the end of a run', () => {
  it('is to be told once, however often its step is repeated, with ids and states and nobody’s words', async () => {
    const { id } = await storeWebhook(pool);
    const runId = await endedRun();
    await finishTurn(pool, runId, failed);
    expect(await toldTo(pool, id)).toEqual([`run.failed ${runId}`]);
    const told = await data(runId);
    expect(told).toMatchObject({
      ...owner,
      runId,
      status: 'failed',
      failureKind: 'agent-error',
      attempt: 1,
      labels: {},
    });
    expect(JSON.stringify(told)).not.toContain('WORDS');
  });

  it('is to be told exactly when it is stored: what is rolled back leaves nothing', async () => {
    const { id } = await storeWebhook(pool);
    await pool.query(`create function refuse() returns trigger language plpgsql as $$ begin
      if new.terminal_status is not null then raise exception 'no commit'; end if; return new; end $$`);
    await pool.query(`create constraint trigger refused after update on runs deferrable initially deferred
      for each row execute function refuse()`);
    const { runId } = await storeTurn(pool);
    await expect(finishTurn(pool, runId, failed)).rejects.toThrow('no commit');
    expect(await toldTo(pool, id)).toEqual([]);
    await pool.query('drop trigger refused on runs');
    await finishTurn(pool, runId, failed);
    expect(await toldTo(pool, id)).toEqual([`run.failed ${runId}`]);
  });

  it('is told to who asked for it: by tenant, project, labels and event, and while the webhook is active', async () => {
    const wanted = [
      await storeWebhook(pool),
      await storeWebhook(pool, { tenantId: null }),
      await storeWebhook(pool, { projectId: owner.projectId, events: ['run.failed', 'run.completed'] }),
      await storeWebhook(pool, { labels: { team: 'core' } }),
    ];
    const others = [
      await storeWebhook(pool, { tenantId: 'other' }),
      await storeWebhook(pool, { projectId: 'elsewhere' }),
      await storeWebhook(pool, { events: webhookEventTypes.filter((event) => event !== 'run.failed') }),
      await storeWebhook(pool, { labels: { team: 'core', urgent: 'yes' } }),
      await updateWebhook(pool, (await storeWebhook(pool)).id, 'acme', { state: 'paused' }),
    ];
    const deleted = await storeWebhook(pool);
    await deleteWebhook(pool, deleted.id, 'acme');
    const { runId } = await storeTurn(pool);
    await pool.query(`update runs set labels = '{"team": "core", "tier": "1"}' where run_id = $1`, [runId]);
    await finishTurn(pool, runId, failed);
    for (const { id } of wanted) expect(await toldTo(pool, id)).toEqual([`run.failed ${runId}`]);
    for (const { id } of [...others, deleted]) expect(await toldTo(pool, id)).toEqual([]);
  });

  it('holds no labels that are larger than a small message', async () => {
    await storeWebhook(pool);
    const { runId } = await storeTurn(pool);
    const labels = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`label-${n}`, 'x'.repeat(200)]));
    await pool.query('update runs set labels = $2 where run_id = $1', [runId, labels]);
    await finishTurn(pool, runId, failed);
    expect(await data(runId)).toMatchObject({ runId, labels: null });
  });

  it('is stored although somebody holds the subscription', async () => {
    const { id } = await storeWebhook(pool);
    await withTransaction(pool, async (tx) => {
      await tx.query('select 1 from webhooks where webhook_id = $1 for update', [id]);
      await endedRun();
    });
    expect(await toldTo(pool, id)).toHaveLength(1);
  });
});

it('a test names its webhook and nothing else', async () => {
  const subscription = await storeWebhook(pool, { tenantId: null });
  const { id } = await createTestDelivery(pool, subscription);
  expect(await data(id)).toEqual({ tenantId: null, projectId: null });
});

describe('the end of a queue task', () => {
  it('is to be told, also when its session is deleted before it began', async () => {
    const { id } = await storeWebhook(pool, { labels: { team: 'core' } });
    const cancelled = await addTask();
    await cancelTask(pool, cancelled, 'WORDS-OF-A-PERSON');
    await cancelTask(pool, cancelled, null);
    const sessionId = newSessionId();
    await pool.query(
      `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, expires_at)
       values ($1, 'acme', 'web', 'codex', 'pvc', now() + interval '1 day')`,
      [sessionId],
    );
    const queued = await addTask(sessionId);
    await beginDeletion(pool, sessionId);
    expect(await toldTo(pool, id)).toEqual([`task.cancelled ${cancelled}`, `task.cancelled ${queued}`]);
    const told = await data(cancelled);
    expect(told).toMatchObject({ ...owner, taskId: cancelled, runId: null, status: 'cancelled' });
    expect(JSON.stringify(told)).not.toContain('WORDS');
  });

  it('is told of many at once, in statements of a bounded size', async () => {
    const { id } = await storeWebhook(pool);
    await pool.query(
      `insert into queue_tasks (task_id, tenant_id, project_id, queue, priority, backend_profile, session_id, payload, execution_policy, state,
         terminal_status, finished_at)
       select 'task_' || n, 'acme', 'web', 'q', 0, 'codex', 's', '{}', '{}', 'expired', 'expired', now() from generate_series(1, 2500) n`,
    );
    const ids = Array.from({ length: 2_500 }, (_, index) => `task_${index + 1}`);
    await withTransaction(pool, (tx) => tellWebhooks(tx, 'taskEnd', ids));
    const told = await toldTo(pool, id);
    expect(told).toHaveLength(2_500);
    expect(told[0]).toMatch(/^task\.expired /);
  });
});

describe('a request of an agent', () => {
  const asked = (requestId: string) => ({
    type: 'approval_requested' as const,
    payload: {
      requestId,
      kind: 'command',
      itemId: null,
      summary: 'WORDS-OF-AN-AGENT',
      command: null,
      cwd: null,
      reason: null,
      questions: [],
      details: null,
      fingerprint: 'f',
    },
  });
  const record = (runId: string, events: Parameters<typeof requestChangesIn>[0]) =>
    withTransaction(pool, async (tx) => {
      const changes = requestChangesIn(events);
      if (changes !== null) await recordRequestChanges(tx, runId, 1, changes);
    });

  it('is to be told once when it waits for a person, and not when nobody can be asked', async () => {
    const { id } = await storeWebhook(pool, { events: ['request.pending'] });
    const { runId } = await storeTurn(pool);
    const [waiting, hopeless] = ['1', '2'].map((n) => `req_${n.repeat(26)}`);
    if (waiting === undefined || hopeless === undefined) throw new Error('two ids');
    await record(runId, [asked(waiting)]);
    await record(runId, [asked(waiting)]);
    await record(runId, [
      asked(hopeless),
      { type: 'approval_resolved', payload: { requestId: hopeless, resolution: 'no-channel', reason: null } },
    ]);
    expect(await toldTo(pool, id)).toEqual([`request.pending ${waiting}`]);
    const told = await data(waiting);
    expect(told).toMatchObject({ ...owner, runId, requestId: waiting, kind: 'command', status: 'pending' });
    expect(JSON.stringify(told)).not.toContain('WORDS');
  });
});

describe('the deletion of a session', () => {
  it('takes along what was said of its runs; what is not said yet is said', async () => {
    const { id } = await storeWebhook(pool);
    const runIds = [await endedRun(), await endedRun()];
    const [due] = await dueDeliveries(pool, 10);
    if (due === undefined) throw new Error('two deliveries wait');
    await recordTry(pool, due, { try: 1, durationMs: 1, status: 200, failure: null }, 'delivered');
    for (const runId of runIds) {
      const { rows } = await pool.query<{ session_id: string }>(
        'select session_id from runs where run_id = $1',
        [runId],
      );
      const sessionId = rows[0]?.session_id ?? '';
      const session = { sessionId, generation: (await beginDeletion(pool, sessionId)).generation };
      while ((await deleteSessionStep(pool, session)) === 'more');
    }
    expect(await toldTo(pool, id)).toEqual([`run.failed ${runIds[1]}`]);
  });
});
