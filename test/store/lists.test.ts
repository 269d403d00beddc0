import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { idPrefixes } from '../../contract/ids.js';
import type { Page } from '../../contract/queries.js';
import { type SessionExecutionState, sessionExecutionStateSchema } from '../../contract/states.js';
import { executionStateOf } from '../../domain/session-state.js';
import { encodeCursor } from '../../store/keyset.js';
import { listRunners } from '../../store/list-runners.js';
import { listRuns } from '../../store/list-runs.js';
import { listSessions } from '../../store/list-sessions.js';
import { newId } from '../../store/new-id.js';
import type { Pool } from '../../store/pool.js';
import { type ListedSession, storeRun, storeRunner, storeSession } from '../support/list-rows.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { askPerson, storeCommand } from '../support/turn-rows.js';

let postgres: TestPostgres;
let pool: Pool;
beforeAll(async () => {
  postgres = await startPostgres();
});
beforeEach(async () => {
  pool = (await postgres.newDatabase()).pool;
});
afterAll(async () => {
  await postgres.stop();
});

/** Times of creation that are close enough for every tie: equal, one microsecond apart, across a millisecond. */
const closeTimes = fc
  .nat({ max: 40 })
  .map((step) => `2026-05-04T03:02:01.${String(999_990 + step - 30).padStart(6, '0')}Z`);

/** One list: how a row gets into it at a time, and how a page of it is read. */
interface Case {
  readonly list: string;
  insert(createdAt: string): Promise<string>;
  page(limit: number, cursor: string | undefined): Promise<Page<string>>;
}

const pageOfIds = <Item>(page: Page<Item>, idOf: (item: Item) => string): Page<string> => ({
  ...page,
  items: page.items.map(idOf),
});

function cases(of: Pool): Case[] {
  return [
    {
      list: 'sessions',
      insert: (createdAt) => storeSession(of, { createdAt }),
      page: async (limit, cursor) =>
        pageOfIds(
          await listSessions(of, { limit, cursor, readerId: 'cli', labels: [] }),
          (session) => session.sessionId,
        ),
    },
    {
      list: 'runs',
      // Their key is the id: a time that is close becomes an id that is close.
      insert: async (createdAt) =>
        storeRun(of, await storeSession(of), {
          runId: `run_${createdAt.replaceAll(/\D/g, '')}${newId('run')}`,
        }),
      page: async (limit, cursor) =>
        pageOfIds(await listRuns(of, { limit, cursor, labels: [] }), (run) => run.id),
    },
    {
      list: 'runners',
      insert: async (createdAt) =>
        storeRunner(of, await storeSession(of), { jobName: newId(idPrefixes.runner), createdAt }),
      page: async (limit, cursor) =>
        pageOfIds(await listRunners(of, { limit, cursor }), (runner) => runner.jobName),
    },
  ];
}

/** Reads a list to its end; before each further page `between` runs. */
async function walk(
  list: Case,
  limits: readonly number[],
  between: (page: number) => Promise<void> = () => Promise.resolve(),
): Promise<string[]> {
  const seen: string[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < 1_000; page += 1) {
    const limit = limits[page % limits.length] ?? 1;
    const answer = await list.page(limit, cursor);
    seen.push(...answer.items);
    expect(answer.hasMore).toBe(answer.nextCursor !== null);
    if (answer.nextCursor === null) return seen;
    expect(answer.items).toHaveLength(limit);
    cursor = answer.nextCursor;
    await between(page);
  }
  throw new Error('the list has no end');
}

describe.each(['sessions', 'runs', 'runners'])('pages of %s', (name) => {
  const listOf = (of: Pool) => {
    const list = cases(of).find((one) => one.list === name);
    if (list === undefined) throw new Error(name);
    return list;
  };
  const limits = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });

  it('hold each row once, whatever the limits; rows that come in between make none appear twice or get lost', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(closeTimes, { maxLength: 25 }),
        fc.array(closeTimes, { maxLength: 8 }),
        limits,
        async (old, later, sizes) => {
          await pool.query('truncate sessions cascade');
          const list = listOf(pool);
          const before: string[] = [];
          for (const createdAt of old) before.push(await list.insert(createdAt));
          const whole = await walk(list, [100]);
          expect(whole.toSorted()).toEqual(before.toSorted());
          expect(await walk(list, sizes)).toEqual(whole);

          const seen = await walk(list, sizes, async (page) => {
            const createdAt = later[page];
            if (createdAt !== undefined) await list.insert(createdAt);
          });
          expect(new Set(seen).size).toBe(seen.length);
          const known = new Set(before);
          expect(seen.filter((id) => known.has(id))).toEqual(whole);
        },
      ),
      { numRuns: 12 },
    );
  });

  it('refuse a cursor that is none, or of another list', async () => {
    const other = name === 'runs' ? 'sessions' : 'runs';
    const refused = [
      'nonsense',
      'e30',
      'a=b',
      Buffer.from('[1').toString('base64url'),
      encodeCursor(other, other === 'runs' ? ['run_1'] : ['2026-05-04T03:02:01.000001Z', 's']),
      encodeCursor(name, []),
      encodeCursor(name, ['2026-05-04T03:02:01.000001Z', 's', 'more']),
      encodeCursor(name, ['0000-05-04T03:02:01.000001Z', 's']),
      encodeCursor(name, ['2026-02-31T03:02:01.000001Z', 's']),
      encodeCursor(name, ['a\u0000b']),
      encodeCursor(name, ['2026-05-04T03:02:01.000001Z', 'a\u0000b']),
      Buffer.from(JSON.stringify([2, name, ['run_1']])).toString('base64url'),
    ];
    for (const cursor of refused) {
      await expect(listOf(pool).page(5, cursor), cursor).rejects.toMatchObject({
        failureKind: 'schema-invalid',
        details: { issues: [{ path: 'query.cursor' }] },
      });
    }
  });
});

const list = async (over: Partial<Parameters<typeof listSessions>[1]> = {}) =>
  (await listSessions(pool, { limit: 500, readerId: 'cli', labels: [], ...over })).items;
const ids = async (over: Partial<Parameters<typeof listSessions>[1]> = {}) =>
  (await list(over)).map((session) => session.sessionId).toSorted();

describe('sessions by what they are doing', () => {
  it('chooses by the very rule that the answer is worked out with', async () => {
    const expected = new Map<string, SessionExecutionState>();
    for (const evicted of [false, true]) {
      for (const activeRunStatus of [null, 'pending', 'claimed', 'running']) {
        for (const needsInput of [false, true]) {
          for (const queued of ['none', 'turn', 'steer']) {
            const sessionId = await storeSession(pool, { storageKind: evicted ? 'evicted' : 'pvc' });
            // A request of a run that is not the active one counts for nothing.
            const active = await storeRun(pool, sessionId, { status: activeRunStatus ?? 'completed' });
            if (activeRunStatus !== null) {
              await pool.query('update sessions set active_run_id = $2 where session_id = $1', [
                sessionId,
                active,
              ]);
            }
            if (needsInput) await askPerson(pool, active);
            if (queued === 'turn') await storeRun(pool, sessionId, { queued: true });
            if (queued === 'steer') {
              await storeCommand(pool, active, 'steer');
              await pool.query(
                `update commands set steer_delivery = 'next-turn' where run_id = $1 and type = 'steer'`,
                [active],
              );
            }
            expected.set(
              sessionId,
              executionStateOf({
                evicted,
                activeRunStatus,
                needsInput,
                queuedTurns: queued === 'none' ? 0 : 1,
              }),
            );
          }
        }
      }
    }
    const all = await list();
    expect(new Map(all.map((session) => [session.sessionId, session.executionState]))).toEqual(expected);
    for (const state of sessionExecutionStateSchema.options) {
      const chosen = [...expected].filter(([, value]) => value === state).map(([id]) => id);
      expect(chosen.length, state).toBeGreaterThan(0);
      expect(await ids({ state }), state).toEqual(chosen.toSorted());
    }
  });
});

describe('filters', () => {
  it('leave archived sessions out unless they are asked for, and deleted ones always', async () => {
    const plain = await storeSession(pool);
    const archived = await storeSession(pool, { archived: true });
    const deleted = await storeSession(pool, { deleted: true });
    await storeSession(pool, { archived: true, deleted: true });
    expect(await ids()).toEqual([plain]);
    expect(await ids({ state: 'idle' })).toEqual([plain]);
    expect(await ids({ state: 'archived' })).toEqual([archived]);
    await storeRun(pool, deleted);
    await storeRunner(pool, deleted, { jobName: 'job' });
    expect((await listRuns(pool, { limit: 5, labels: [] })).items).toEqual([]);
    expect((await listRunners(pool, { limit: 5 })).items).toEqual([]);
  });

  it('choose sessions by tenant, project, profile and labels, which must all hold', async () => {
    const rows: ListedSession[] = [
      { sessionId: 'a', labels: { team: 'core', urgent: '' } },
      { sessionId: 'b', labels: { team: 'core' } },
      { sessionId: 'c', labels: { team: 'edge', urgent: 'yes', "it's": '"x"' } },
      { sessionId: 'd', tenantId: 'umbrella', projectId: 'lab', backendProfile: 'command' },
    ];
    for (const row of rows) await storeSession(pool, row);
    expect(await ids({ tenantId: 'umbrella' })).toEqual(['d']);
    expect(await ids({ projectId: 'web' })).toEqual(['a', 'b', 'c']);
    expect(await ids({ backendProfile: 'command' })).toEqual(['d']);
    expect(await ids({ labels: [{ key: 'team', value: 'core' }] })).toEqual(['a', 'b']);
    expect(await ids({ labels: [{ key: 'urgent', value: null }] })).toEqual(['a', 'c']);
    expect(await ids({ labels: [{ key: "it's", value: '"x"' }] })).toEqual(['c']);
    expect(
      await ids({
        labels: [
          { key: 'team', value: 'core' },
          { key: 'urgent', value: null },
        ],
      }),
    ).toEqual(['a']);
    expect(await ids({ labels: [{ key: 'urgent', value: '' }] })).toEqual(['a']);
    expect(await ids({ tenantId: 'umbrella', labels: [{ key: 'team', value: null }] })).toEqual([]);
  });

  it('choose runs by status, session, project, profile, labels and tenant', async () => {
    const here = await storeSession(pool);
    const there = await storeSession(pool, { tenantId: 'umbrella' });
    const running = await storeRun(pool, here, { status: 'running', labels: { nightly: '1' } });
    const failed = await storeRun(pool, here, { status: 'failed', projectId: 'other' });
    const pending = await storeRun(pool, there, { backendProfile: 'command' });
    const runIds = async (query: Partial<Parameters<typeof listRuns>[1]>) =>
      (await listRuns(pool, { limit: 50, labels: [], ...query })).items.map((run) => run.id);
    expect(await runIds({})).toEqual([pending, failed, running]);
    expect(await runIds({ status: 'running' })).toEqual([running]);
    expect(await runIds({ status: 'failed' })).toEqual([failed]);
    expect(await runIds({ status: 'completed' })).toEqual([]);
    expect(await runIds({ sessionId: here })).toEqual([failed, running]);
    expect(await runIds({ projectId: 'other' })).toEqual([failed]);
    expect(await runIds({ backendProfile: 'command' })).toEqual([pending]);
    expect(await runIds({ labels: [{ key: 'nightly', value: '1' }] })).toEqual([running]);
    expect(await runIds({ tenantId: 'umbrella' })).toEqual([pending]);
    expect(await runIds({ tenantId: 'umbrella', sessionId: here })).toEqual([]);
  });

  it('choose runners by state, session and tenant', async () => {
    const here = await storeSession(pool);
    const there = await storeSession(pool, { tenantId: 'umbrella' });
    await storeRunner(pool, here, { jobName: 'a', state: 'gone' });
    await storeRunner(pool, here, { jobName: 'b', state: 'serving' });
    await storeRunner(pool, there, { jobName: 'c', state: 'serving' });
    const names = async (query: Partial<Parameters<typeof listRunners>[1]>) =>
      (await listRunners(pool, { limit: 50, ...query })).items.map((runner) => runner.jobName);
    expect(await names({})).toEqual(['c', 'b', 'a']);
    expect(await names({ state: 'serving' })).toEqual(['c', 'b']);
    expect(await names({ state: 'gone' })).toEqual(['a']);
    expect(await names({ sessionId: here })).toEqual(['b', 'a']);
    expect(await names({ tenantId: 'umbrella', state: 'serving' })).toEqual(['c']);
  });
});
