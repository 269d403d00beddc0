import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AgentRunError } from '../../contract/errors.js';
import { sessionRecordSchema } from '../../contract/sessions.js';
import { deleteSessionStep } from '../../store/delete-session.js';
import { generationOf } from '../../store/idle-session.js';
import { nextTurn } from '../../store/next-turn.js';
import { beginDeletion } from '../../store/session-storage.js';
import { finishTurn } from '../../store/turn-steps.js';
import { type ApiAnswer, attemptSettings, fakeGateway, startApi } from '../support/api.js';
import { storageDataDir } from '../support/fake-storage.js';
import { standingStill } from '../support/standing-still.js';
import { messageLines, newSessionId, owner, postEvents, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api, database } = await useApi();

const acme = 'agr_acme_0123456789abcdef';
const outcomeOf = ({ status, body }: ApiAnswer) => [status, body.failureKind];
const path = (sessionId: string, more = '') => `/api/v1/sessions/${sessionId}${more}`;
const create = (sessionId: string, over: Record<string, unknown> = {}) =>
  api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId, ...over } });
const sendTo = (sessionId: string, body: Record<string, unknown> = { prompt: 'x' }) =>
  api.call('POST', path(sessionId, '/send'), { body });
const put = (what: 'archive' | 'unarchive', sessionId: string) =>
  api.data(sessionRecordSchema, 'POST', path(sessionId, `/${what}`));
const remove = (sessionId: string, token?: string) =>
  api.call('DELETE', path(sessionId), token === undefined ? {} : { token });
async function finish(runId: string): Promise<void> {
  await finishTurn(database.pool, runId, {
    terminalStatus: 'completed',
    failureKind: null,
    failureMessage: null,
  });
}
/** A session with a finished turn that has events, a steer and a runner that is idle. */
async function finishedTurn() {
  const runner = await startTurn(api);
  await send(api, runner.sessionId, 'a steer');
  await postEvents(api, runner, messageLines(1, 5));
  await finish(runner.runId);
  await database.pool.query(`update commands set next_command_id = 'none' where session_id = $1`, [
    runner.sessionId,
  ]);
  await database.pool.query(`update runners set state = 'idle' where job_name = $1`, [runner.jobName]);
  return runner;
}

/** Rows that hold this session or one of its runs, by table, of every table but the audit log and queue tasks. */
async function rowsOf(sessionId: string, runId: string): Promise<Record<string, number>> {
  const columns = await database.pool.query<{ table_name: string; column_name: string }>(
    `select c.table_name, c.column_name from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
      where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.column_name in ('session_id', 'run_id')
        and c.table_name not in ('queue_tasks', 'audit_log')`,
  );
  const found: Record<string, number> = {};
  for (const { table_name: table, column_name: column } of columns.rows) {
    const { rows } = await database.pool.query<{ n: number }>(
      `select count(*)::int as n from ${table} where ${column} = $1`,
      [column === 'run_id' ? runId : sessionId],
    );
    if ((rows[0]?.n ?? 0) > 0) found[table] = (found[table] ?? 0) + (rows[0]?.n ?? 0);
  }
  return found;
}

describe('archiving', () => {
  it('puts a session aside: it takes no messages until it is taken back; both may be repeated', async () => {
    const { sessionId, jobName } = await finishedTurn();
    const first = await put('archive', sessionId);
    expect(first.archivedAt).not.toBeNull();
    expect(await put('archive', sessionId)).toEqual(first);
    const runners = await database.pool.query('select state from runners where job_name = $1', [jobName]);
    expect(runners.rows).toEqual([{ state: 'closing' }]);
    for (const body of [{ prompt: 'x' }, { prompt: 'x', dryRun: true }]) {
      const answer = await sendTo(sessionId, body);
      expect(outcomeOf(answer)).toEqual([409, 'conflict']);
      expect(answer.body.message).toContain('unarchive');
    }
    expect(
      outcomeOf(await api.call('POST', '/api/v1/runs', { body: { ...owner, sessionRef: { sessionId } } })),
    ).toEqual([409, 'conflict']);
    for (let time = 1; time <= 2; time += 1)
      expect((await put('unarchive', sessionId)).archivedAt).toBeNull();
    expect((await sendTo(sessionId)).status).toBe(200);
  });

  it('is refused while a turn is active or queued', async () => {
    const { sessionId, runId } = await startTurn(api);
    expect(outcomeOf(await api.call('POST', path(sessionId, '/archive')))).toEqual([409, 'session-busy']);
    await send(api, sessionId, 'later', { whenBusy: 'queue' });
    await finish(runId);
    expect(outcomeOf(await api.call('POST', path(sessionId, '/archive')))).toEqual([409, 'session-busy']);
  });

  it('is not for sessions of another tenant', async () => {
    const sessionId = newSessionId();
    await create(sessionId, { tenantId: 'other' });
    for (const what of ['archive', 'unarchive'])
      expect(outcomeOf(await api.call('POST', path(sessionId, `/${what}`), { token: acme }))).toEqual([
        404,
        'not-found',
      ]);
  });
});

describe('deleting', () => {
  it('leaves no row and no file, and the id is free again', async () => {
    const { sessionId, runId } = await finishedTurn();
    mkdirSync(join(storageDataDir(), 'sessions', sessionId), { recursive: true });
    await api.call('POST', path(sessionId, '/read'), { body: {} });
    await database.pool.query(
      `insert into quarantined_events (run_id, epoch, producer_seq, reason, event) values ($1, 1, 1, 'fenced', '{}')`,
      [runId],
    );
    await database.pool.query(
      `insert into idempotency_keys (tenant_id, route, idempotency_key, body_hash, answer)
       values ('acme', 'POST /api/v1/sessions', $1, 'h', $2), ('acme', 'POST /api/v1/runs', $1, 'h', $3)`,
      [`key-${sessionId}`, JSON.stringify({ session: { sessionId } }), JSON.stringify({ sessionId })],
    );
    expect(Object.keys(await rowsOf(sessionId, runId))).toEqual(
      expect.arrayContaining(['sessions', 'runs', 'events', 'commands', 'attempts', 'runners', 'leases']),
    );
    expect((await remove(sessionId)).body.data).toEqual({
      action: 'session-deleted',
      sessionId,
      valuesPrinted: false,
    });
    expect(await rowsOf(sessionId, runId)).toEqual({});
    const keys = await database.pool.query('select 1 from idempotency_keys where idempotency_key = $1', [
      `key-${sessionId}`,
    ]);
    expect(keys.rows).toEqual([]);
    expect(existsSync(join(storageDataDir(), 'sessions', sessionId))).toBe(false);
    expect(outcomeOf(await remove(sessionId))).toEqual([404, 'not-found']);
    expect((await create(sessionId, { projectId: 'another' })).body.data).toMatchObject({
      action: 'session-created',
      session: { turns: 0, threadId: null },
    });
  });

  it('is refused while a turn is active or queued, or a queue task of it is under way', async () => {
    const { sessionId, runId } = await startTurn(api);
    expect(outcomeOf(await remove(sessionId))).toEqual([409, 'session-busy']);
    await finish(runId);
    await database.pool.query(
      `insert into queue_tasks (task_id, tenant_id, project_id, queue, state, backend_profile, session_id, payload)
       values ($1, 'acme', 'web', 'default', 'running', 'codex', $2, '{}')`,
      [`task-${sessionId}`, sessionId],
    );
    expect(outcomeOf(await remove(sessionId))).toEqual([409, 'session-busy']);
    await database.pool.query(`update queue_tasks set state = 'completed' where session_id = $1`, [
      sessionId,
    ]);
    expect((await remove(sessionId)).status).toBe(200);
    const task = await database.pool.query('select 1 from queue_tasks where session_id = $1', [sessionId]);
    expect(task.rows).toHaveLength(1);
  });

  it('makes the session unknown from the mark on, whatever is still there, and a repeat finishes it', async () => {
    const { sessionId, runId, promptId } = await finishedTurn();
    await beginDeletion(database.pool, sessionId);
    for (const route of [
      path(sessionId),
      path(sessionId, '/trace'),
      path(sessionId, '/storage'),
      path(sessionId, '/requests'),
      `/api/v1/runs/${runId}`,
      `/api/v1/runs/${runId}/result`,
      `/api/v1/runs/${runId}/events`,
      `/api/v1/runs/${runId}/commands/${promptId}`,
    ])
      expect([route, ...outcomeOf(await api.call('GET', route))]).toEqual([route, 404, 'not-found']);
    for (const [what, body] of [
      ['/send', { prompt: 'x' }],
      ['/send', { prompt: 'x', run: owner }],
      ['/archive', {}],
      ['/unarchive', {}],
      ['/read', {}],
      ['/storage/refresh', {}],
    ] as const)
      expect([what, ...outcomeOf(await api.call('POST', path(sessionId, what), { body }))]).toEqual([
        what,
        404,
        'not-found',
      ]);
    const again = await create(sessionId);
    expect(outcomeOf(again)).toEqual([409, 'conflict']);
    expect(again.body.message).toContain('is being deleted');
    expect(outcomeOf(await create(sessionId, { tenantId: 'other' }))).toEqual([404, 'not-found']);
    expect(outcomeOf(await remove(sessionId, 'agr_reader_0123456789abcdef'))).toEqual([403, 'forbidden']);
    expect((await remove(sessionId)).status).toBe(200);
    expect(await rowsOf(sessionId, runId)).toEqual({});
  });

  it('goes in bounded steps that may be broken off and repeated anywhere; a session that is not marked is left alone', async () => {
    const { sessionId, runId } = await finishedTurn();
    await database.pool.query(
      `insert into events (run_id, seq, event_id, epoch, type, payload)
       select $1, n, 'evt-' || n, 1, 'agent_message', '{}' from generate_series(1000, 6000) n`,
      [runId],
    );
    const before = await rowsOf(sessionId, runId);
    const { rows } = await database.pool.query<{ generation: string }>(
      `select ${generationOf('s')} as generation from sessions s where session_id = $1`,
      [sessionId],
    );
    const session = { sessionId, generation: rows[0]?.generation ?? '' };
    expect(await deleteSessionStep(database.pool, session)).toBe('done');
    expect(await rowsOf(sessionId, runId)).toEqual(before);
    expect(await beginDeletion(database.pool, sessionId)).toMatchObject({ generation: session.generation });
    const events: number[] = [];
    for (let step = 0; step < 20; step += 1) {
      // Two at once, as a worker that stood still and the one that replaced it.
      const both = await Promise.all([1, 2].map(() => deleteSessionStep(database.pool, session)));
      events.push((await rowsOf(sessionId, runId)).events ?? 0);
      if (both.includes('done')) break;
    }
    expect(events[0]).toBeGreaterThan(0);
    expect(await rowsOf(sessionId, runId)).toEqual({});
  });

  it('is not undone by what comes late: its workflow finds nothing to run, its runner is fenced', async () => {
    const runner = await finishedTurn();
    expect((await remove(runner.sessionId)).status).toBe(200);
    expect(await nextTurn(database.pool, attemptSettings, runner.sessionId)).toBeNull();
    const late = await postEvents(api, runner, messageLines(6, 7));
    expect(late.status).toBeGreaterThanOrEqual(400);
    expect(await rowsOf(runner.sessionId, runner.runId)).toEqual({});
  });

  it('refuses a run that is created while it begins, and takes one that was there before', async () => {
    const sessionId = newSessionId();
    await create(sessionId);
    const createRun = () =>
      api.call('POST', '/api/v1/runs', { body: { ...owner, sessionRef: { sessionId } } });
    const before = await createRun();
    expect(before.status).toBe(200);
    const during = await standingStill(database.pool, {
      lock: 'select 1 from sessions where session_id = $1 for no key update',
      sessionId,
      step: createRun,
      meanwhile: async (tx) => {
        await tx.query(
          `update sessions set deleted_at = now(), storage_kind = 'evicted', storage_pvc_phase = 'Terminating' where session_id = $1`,
          [sessionId],
        );
      },
    });
    expect(outcomeOf(during)).toEqual([404, 'not-found']);
    expect(outcomeOf(await createRun())).toEqual([409, 'conflict']);
    expect((await remove(sessionId)).status).toBe(200);
    expect(await rowsOf(sessionId, 'none')).toEqual({});
  });

  it('says that the outcome is unknown when its workflow did not answer in time', async () => {
    const late = () => Promise.reject(new AgentRunError('unavailable', 'Temporal did not answer in time'));
    const gateway = { ...fakeGateway(database.pool), deleteSession: late, evictStorage: late };
    const waiting = await startApi(database, { gateway });
    const sessionId = newSessionId();
    await create(sessionId);
    for (const route of [path(sessionId), path(sessionId, '/storage')]) {
      const answer = await waiting.call('DELETE', route);
      expect([route, ...outcomeOf(answer)]).toEqual([route, 503, 'unavailable']);
      expect(answer.body.error).toMatchObject({ details: { outcome: 'unknown', sessionId } });
    }
    await waiting.stop();
  });

  it('of a session of another tenant is not found', async () => {
    const sessionId = newSessionId();
    await create(sessionId, { tenantId: 'other' });
    expect(outcomeOf(await remove(sessionId, acme))).toEqual([404, 'not-found']);
    expect((await api.call('GET', path(sessionId))).status).toBe(200);
  });
});
