import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listRunners, runnerListStatement } from '../../store/list-runners.js';
import { listRuns, runListStatement } from '../../store/list-runs.js';
import { listSessions, sessionListStatement } from '../../store/list-sessions.js';
import type { Pool } from '../../store/pool.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { explainedSchema, nodesOf, type Plan } from '../support/query-plan.js';

// What each list costs on 20,000 rows, read from the plan that Postgres ran (docs/adr/0019).

const rowsInAll = 20_000;
const limit = 50;

let postgres: TestPostgres;
let pool: Pool;
beforeAll(async () => {
  postgres = await startPostgres();
  pool = (await postgres.newDatabase()).pool;
  for (const sql of rowsSql) await pool.query(`set statement_timeout = 0; ${sql}`);
  await pool.query('set statement_timeout = 0; analyze');
}, 120_000);
afterAll(async () => {
  await postgres.stop();
});

/** Two tenants, one with a hundredth of all; one session in 200 is active; one run in 100 failed, one runner in 200 lives. */
const rowsSql = [
  `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, labels, created_at, archived_at, expires_at,
     active_run_id, last_run_id)
   select 'sess_' || lpad(n::text, 26, '0'), case when n % 100 = 0 then 'small' else 'acme' end, 'web', 'codex',
     case when n % 500 = 7 then 'evicted' else 'pvc' end, jsonb_build_object('team', 't' || n % 400),
     timestamptz '2026-01-01' + n * interval '3 seconds', case when n % 10 = 3 then now() end, now() + interval '1 day',
     case when n % 200 = 0 then 'run_' || lpad(n::text, 26, '0') end, 'run_' || lpad(n::text, 26, '0')
   from generate_series(1, ${rowsInAll}) n`,
  `insert into runs (run_id, tenant_id, project_id, session_id, session_turn, backend_profile, launcher, execution_policy, status,
     terminal_status, labels, prompt_command_id)
   select 'run_' || lpad(n::text, 26, '0'), case when n % 100 = 0 then 'small' else 'acme' end, 'web', 'sess_' || lpad(n::text, 26, '0'),
     1, 'codex', 'process', '{}', case when n % 200 = 0 then 'running' when n % 100 = 1 then 'failed' else 'completed' end,
     case when n % 200 = 0 then null when n % 100 = 1 then 'failed' else 'completed' end, jsonb_build_object('team', 't' || n % 400), 'cmd'
   from generate_series(1, ${rowsInAll}) n`,
  'insert into run_log (run_id) select run_id from runs',
  `insert into attempts (run_id, epoch, job_name, mode, claim_deadline_at) select run_id, 1, 'job-' || run_id, 'start', now() from runs`,
  'update runs set current_epoch = 1',
  `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, run_id, epoch, idle_timeout_ms,
     expires_at, created_at)
   select 'job-' || r.run_id, r.tenant_id, r.session_id, 'codex', 'process', 'f', case when r.terminal_status is null then 'serving' else 'gone' end,
     r.run_id, 1, 0, now(), s.created_at from runs r join sessions s using (session_id)`,
  `insert into leases (job_name, run_id, epoch, runner_id, lease_ms, expires_at) select job_name, run_id, 1, 'runner', 60000, now() from runners`,
  `insert into session_reads (session_id, reader_id) select session_id, reader from sessions, unnest(array['cli', 'web']) reader`,
];

type Statement = { readonly text: string; readonly values: unknown[] };

interface Cost {
  readonly tablesReadWhole: string[];
  /** The most rows that one node had to order. */
  readonly sorted: number;
  /** Rows that one scan read, those that its filter dropped included: the most of all scans. */
  readonly read: number;
  readonly pages: number;
}

async function costOf({ text, values }: Statement): Promise<Cost> {
  const explained = await pool.query(`explain (analyze, buffers, format json) ${text}`, values);
  const plan = explainedSchema.parse(explained.rows)[0]?.['QUERY PLAN'][0]?.Plan;
  if (plan === undefined) throw new Error('no plan');
  const nodes = nodesOf(plan);
  const rowsOf = (node: Plan) =>
    (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'];
  return {
    tablesReadWhole: nodes
      .filter((node) => node['Node Type'] === 'Seq Scan' && rowsOf(node) > 0)
      .map((node) => node['Relation Name'] ?? ''),
    sorted: Math.max(
      0,
      ...nodes
        .filter((node) => node['Node Type'].includes('Sort'))
        .map((node) => rowsOf(node.Plans?.[0] ?? node)),
    ),
    read: Math.max(0, ...nodes.filter((node) => node['Node Type'].endsWith('Scan')).map(rowsOf)),
    pages: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'],
  };
}

/** The cursor behind the page at a depth of the list. */
async function cursorAt(
  depth: number,
  page: (cursor: string | undefined) => Promise<{ nextCursor: string | null }>,
): Promise<string> {
  let cursor: string | undefined;
  for (let rows = 0; rows < depth; rows += 500) {
    const { nextCursor } = await page(cursor);
    if (nextCursor === null) throw new Error(`the list ends before ${depth} rows`);
    cursor = nextCursor;
  }
  return cursor ?? '';
}

const sessions = { limit, readerId: 'cli', labels: [] };
const runs = { limit, labels: [] };
const team = [{ key: 'team', value: 't17' }];

describe.each([
  {
    list: 'sessions',
    statement: (query: { cursor?: string; tenantId?: string }) =>
      sessionListStatement({ ...sessions, ...query }),
    page: (cursor: string | undefined) => listSessions(pool, { ...sessions, limit: 500, cursor }),
  },
  {
    list: 'runs',
    statement: (query: { cursor?: string; tenantId?: string }) => runListStatement({ ...runs, ...query }),
    page: (cursor: string | undefined) => listRuns(pool, { ...runs, limit: 500, cursor }),
  },
  {
    list: 'runners',
    statement: (query: { cursor?: string; tenantId?: string }) => runnerListStatement({ limit, ...query }),
    page: (cursor: string | undefined) => listRunners(pool, { limit: 500, cursor }),
  },
])('a page of all $list', ({ statement, page }) => {
  it.each([undefined, 'acme', 'small'])(
    'of tenant %s costs what the page holds, first or deep',
    async (tenantId) => {
      const cursor = await cursorAt(15_000, page);
      for (const query of [{}, { cursor }]) {
        const cost = await costOf(statement({ ...query, ...(tenantId === undefined ? {} : { tenantId }) }));
        expect(cost.tablesReadWhole).toEqual([]);
        // At most the rest of a small tenant's rows, never the table.
        expect(cost.sorted).toBeLessThanOrEqual(limit);
        expect(cost.read).toBeLessThan(4 * limit);
        expect(cost.pages).toBeLessThan(30 * limit);
      }
    },
  );
});

describe('a page of what is few among many', () => {
  it.each<[string, Statement]>([
    ['sessions that run', sessionListStatement({ ...sessions, state: 'running' })],
    ['sessions that wait', sessionListStatement({ ...sessions, state: 'waiting' })],
    ['sessions that start', sessionListStatement({ ...sessions, state: 'starting', tenantId: 'acme' })],
    ['sessions that were evicted', sessionListStatement({ ...sessions, state: 'evicted' })],
    ['archived sessions', sessionListStatement({ ...sessions, state: 'archived' })],
    [
      'archived sessions of a tenant',
      sessionListStatement({ ...sessions, state: 'archived', tenantId: 'acme' }),
    ],
    ['sessions with a label', sessionListStatement({ ...sessions, labels: team })],
    ['runs that run', runListStatement({ ...runs, status: 'running' })],
    ['runs that failed', runListStatement({ ...runs, status: 'failed' })],
    ['runs of a session', runListStatement({ ...runs, sessionId: 'sess_00000000000000000000000123' })],
    ['runs with a label', runListStatement({ ...runs, labels: team })],
    ['runners that serve', runnerListStatement({ limit, state: 'serving' })],
    ['runners of a session', runnerListStatement({ limit, sessionId: 'sess_00000000000000000000000123' })],
  ])('%s reads those, not the table', async (_what, statement) => {
    const cost = await costOf(statement);
    expect(cost.tablesReadWhole).toEqual([]);
    expect(cost.read).toBeLessThan(1_000);
    expect(cost.pages).toBeLessThan(3_000);
  });
});
