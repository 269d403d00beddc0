import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { idPrefixes, lowestIdAt } from '../../contract/ids.js';
import { appendBatch } from '../../store/append-batch.js';
import { appendEvents, readEvents } from '../../store/events.js';
import { readFeed, readFeedEdges } from '../../store/feed.js';
import { type FeedPosition, feedStart } from '../../store/feed-position.js';
import { readLogs } from '../../store/log-reads.js';
import { ensureEventPartitions } from '../../store/partitions.js';
import { type Pool, type Transaction, withTransaction } from '../../store/pool.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { explainedSchema, nodesOf, type Plan } from '../support/query-plan.js';

// What the hot queries of the log cost, read from the plans that Postgres ran (docs/adr/0020). LOG_PLAN_EVENTS=200000 LOG_PLAN_PRINT=1 prints them for
// the table of the ADR.

const eventsInAll = Number(process.env.LOG_PLAN_EVENTS ?? 20_000);
const print = process.env.LOG_PLAN_PRINT === '1';
const runsInAll = 2_000;
const eventsPerRun = eventsInAll / runsInAll;
/** Runs whose events are not there any more. */
const otherRuns = 30_000;
/** Events that were written in one transaction. */
const batch = 5;
const months = ['events_2024_01', 'events_2024_02', 'events_2024_03'];
const monthOf = (index: number) => months[Math.floor((index * months.length) / runsInAll)] ?? '';
/** Runs one after another over the three months, a few of them per millisecond. */
const runOf = (index: number) =>
  `${lowestIdAt(idPrefixes.run, Date.UTC(2024, 0, 1) + (index * 91 * 86_400_000) / runsInAll).slice(0, -5)}${String(index).padStart(5, '0')}`;
const middle = Math.floor(runsInAll / 2);

let postgres: TestPostgres;
let pool: Pool;
beforeAll(async () => {
  postgres = await startPostgres();
  const database = await postgres.newDatabase();
  pool = database.pool;
  // Not of the pool, whose statements are short.
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    await ensureEventPartitions(client, Date.UTC(2024, 0, 15));
    const runIds = Array.from({ length: runsInAll }, (_, index) => runOf(index));
    const others = Array.from(
      { length: otherRuns },
      (_, index) => `run_zz${String(index).padStart(24, '0')}`,
    );
    await client.query(
      `insert into sessions (session_id, tenant_id, project_id, backend_profile, expires_at)
       select 's' || n, case when n % 100 = 0 then 'small' else 'acme' end, 'web', 'codex', now() from generate_series(1, $1::int) n`,
      [runsInAll + otherRuns],
    );
    await client.query(
      `insert into runs (run_id, tenant_id, project_id, session_id, session_turn, backend_profile, launcher, execution_policy, current_epoch)
       select run_id, case when n % 100 = 0 then 'small' else 'acme' end, 'web', 's' || n, 1, 'codex', 'process', '{}', 1
         from unnest($1::text[]) with ordinality as u(run_id, n)`,
      [[...runIds, ...others]],
    );
    await client.query('insert into run_log (run_id) select run_id from runs');
    await client.query(
      `insert into attempts (run_id, epoch, job_name, mode, claim_deadline_at, claimed_by) select run_id, 1, 'j', 'start', now(), 'runner' from runs`,
    );
    await client.query(
      `update run_log set last_seq = $1, writer_epoch = 1, writer = 'runner', epoch = 1, last_producer_seq = $1`,
      [eventsPerRun],
    );
    // Ten runs write at the same time; each batch is a transaction of its own.
    await client.query(
      `insert into events (run_id, seq, event_id, epoch, producer_seq, type, payload, xid)
       select run_id, seq, 'evt_' || seq, 1, seq, 'agent_message', jsonb_build_object('itemId', 'i', 'text', repeat(md5(seq::text), 20)),
           (1000 + ((n - 1) / 10) * $2::int * 10 / $3::int + ((seq - 1) / $3::int) * 10 + (n - 1) % 10)::text::xid8
         from unnest($1::text[]) with ordinality as u(run_id, n), generate_series(1, $2::int) seq order by (n - 1) / 10, seq, n`,
      [runIds, eventsPerRun, batch],
    );
    await client.query(
      'update run_log g set last_xid = e.xid from events e where e.run_id = g.run_id and e.seq = g.last_seq',
    );
    // The numbers that the rows have must have been given out.
    await client.query(
      `do $$ begin for i in 1..${eventsInAll / batch + 2_000} loop perform pg_current_xact_id(); commit; end loop; end $$`,
    );
    await client.query('vacuum analyze');
  } finally {
    await client.end();
  }
}, 300_000);
afterAll(async () => {
  await postgres?.stop();
});

const configSchema = z.object({ text: z.string(), values: z.array(z.unknown()) });

/** A statement as it was carried out. */
interface Explained {
  readonly text: string;
  /** Scans that were begun, of partitions of `events` and of other tables. */
  readonly scans: readonly {
    readonly table: string;
    readonly kind: string;
    readonly index: string;
    readonly rows: number;
  }[];
  readonly pages: number;
}

/** Runs `work`, whose statements are carried out twice: once explained and taken back, once for real. */
async function explained(name: string, work: (tx: Transaction) => Promise<unknown>): Promise<Explained[]> {
  const found: Explained[] = [];
  await withTransaction(pool, async (tx) => {
    await tx.query('set local statement_timeout = 0');
    const watched = new Proxy(tx, {
      get(real, property) {
        const own: unknown = Reflect.get(real, property, real);
        if (property !== 'query') return own;
        return async (given: unknown, values: unknown[] = []) => {
          const config = typeof given === 'string' ? { text: given, values } : configSchema.parse(given);
          await real.query('savepoint before');
          const plans = await real.query(
            `explain (analyze, buffers, format json) ${config.text}`,
            config.values,
          );
          await real.query('rollback to before');
          if (print) await printPlan(real, name, config);
          found.push(
            explanationOf(config.text, explainedSchema.parse(plans.rows)[0]?.['QUERY PLAN'][0]?.Plan),
          );
          return real.query(config.text, config.values);
        };
      },
    });
    await work(watched);
  });
  return found;
}

async function printPlan(tx: Transaction, name: string, { text, values }: z.infer<typeof configSchema>) {
  const shown = await tx.query<{ 'QUERY PLAN': string }>(
    `explain (analyze, buffers, costs off, timing off) ${text}`,
    values,
  );
  await tx.query('rollback to before');
  console.log(`\n== ${name}\n${shown.rows.map((row) => row['QUERY PLAN']).join('\n')}`);
}

function explanationOf(text: string, plan: Plan | undefined): Explained {
  if (plan === undefined) throw new Error('no plan');
  return {
    text,
    scans: nodesOf(plan)
      .filter((node) => node['Actual Loops'] > 0 && /^(?:Seq|Index|Bitmap Heap)/.test(node['Node Type']))
      .map((node) => ({
        table: node['Relation Name'] ?? '',
        kind: node['Node Type'],
        index: node['Index Name'] ?? '',
        rows: (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'],
      })),
    pages: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'],
  };
}

const partitionsIn = (statements: readonly Explained[]) => [
  ...new Set(
    statements.flatMap(({ scans }) =>
      scans.flatMap(({ table }) => (table.startsWith('events') ? [table] : [])),
    ),
  ),
];
const pagesOf = (statements: readonly Explained[]) => statements.reduce((sum, { pages }) => sum + pages, 0);

/** No table with many rows is read whole. */
function expectIndexes(statements: readonly Explained[]): void {
  expect(statements).not.toEqual([]);
  for (const { scans } of statements)
    expect(scans.filter(({ kind, rows }) => kind === 'Seq Scan' && rows > 0)).toEqual([]);
}

const runner = { runId: runOf(middle), epoch: 1, runnerId: 'runner', jobName: 'j' };
const event = { type: 'agent_message' as const, payload: { itemId: 'i', text: 'text' } };

describe('the log of one run', () => {
  it.each([
    {
      name: 'page of events',
      work: (tx: Transaction) => readEvents(tx, runner.runId, { afterSeq: 2, limit: 5 }),
    },
    {
      name: 'page of the transcript',
      work: (tx: Transaction) => readEvents(tx, runner.runId, { afterSeq: 2, limit: 5, transcript: true }),
    },
    {
      name: 'append of a batch by its runner',
      work: (tx: Transaction) =>
        appendBatch(
          tx,
          runner,
          Array.from({ length: 100 }, (_, index) => ({ seq: eventsPerRun + 1 + index, event })),
        ),
    },
    {
      name: 'append by the control plane',
      work: (tx: Transaction) => appendEvents(tx, runner.runId, 1, [event, event]),
    },
  ])('$name uses the keys of its partition alone', async ({ name, work }) => {
    const statements = await explained(name, work);
    expectIndexes(statements);
    expect(partitionsIn(statements).filter((table) => table !== monthOf(middle))).toEqual([]);
    expect(Math.max(...statements.flatMap(({ scans }) => scans.map(({ rows }) => rows)))).toBeLessThanOrEqual(
      100,
    );
    expect(pagesOf(statements)).toBeLessThan(1_500);
  });

  it('a reader that is far behind reads its page and not the rest of the log', async () => {
    const statements = await explained('page of a reader that is far behind', (tx) =>
      readLogs(tx, [{ runId: runner.runId, afterSeq: 0 }], { events: 5, bytes: 262_144 }),
    );
    expectIndexes(statements);
    expect(partitionsIn(statements)).toEqual([monthOf(middle)]);
    const read = statements.flatMap(({ scans }) => scans.map(({ rows }) => rows));
    expect(Math.max(...read)).toBeLessThanOrEqual(5);
  });

  it('the tails of fifty runs are read by the keys of their partitions, a few pages each', async () => {
    const cursors = Array.from({ length: 50 }, (_, index) => ({
      runId: runOf(middle + index),
      afterSeq: eventsPerRun - (index % 3),
    }));
    const statements = await explained('tails of 50 runs', (tx) =>
      readLogs(tx, cursors, { events: 200, bytes: 262_144 }),
    );
    expectIndexes(statements);
    const wanted = new Set(cursors.map((_, index) => monthOf(middle + index)));
    expect(partitionsIn(statements).filter((table) => !wanted.has(table))).toEqual([]);
    expect(pagesOf(statements)).toBeLessThan(50 * 30);
  });
});

describe('the feed', () => {
  const limits = { events: 500, bytes: 1_000_000 };

  async function positionAt(share: number): Promise<FeedPosition> {
    const { rows } = await pool.query<{ xid: string; run_id: string; seq: number }>(
      'select xid::text, run_id, seq from events order by xid, run_id, seq offset $1 limit 1',
      [Math.floor(eventsInAll * share)],
    );
    const [row] = rows;
    return row === undefined ? feedStart : { xid: row.xid, runId: row.run_id, seq: row.seq };
  }

  it.each([
    { name: 'from the beginning', share: null, tenantId: undefined },
    { name: 'from the middle', share: 0.5, tenantId: undefined },
    { name: 'from the end', share: 0.999, tenantId: undefined },
    { name: 'of a small tenant', share: 0.5, tenantId: 'small' },
  ])(
    'a page $name walks the indexes by transaction and reads no more than it looks at',
    async ({ name, share, tenantId }) => {
      const horizon = await pool.query<{ ahead: boolean }>(
        `select pg_snapshot_xmin(pg_current_snapshot()) > (select xid from events order by xid desc limit 1) as ahead`,
      );
      expect(horizon.rows).toEqual([{ ahead: true }]);
      const after = share === null ? feedStart : await positionAt(share);
      const statements = await explained(`feed ${name}`, (tx) => readFeed(tx, { after, tenantId }, limits));
      expectIndexes(statements);
      const scans = statements
        .flatMap((statement) => statement.scans)
        .filter(({ table }) => table.startsWith('events'));
      // The last few are taken and sorted; an empty partition may be looked at in any way.
      for (const { kind, index, rows } of scans)
        expect(rows === 0 || kind === 'Bitmap Heap Scan' || index.includes('xid_run_id_seq')).toBe(true);
      // One row more of each partition, to merge them.
      const read = scans.reduce((sum, { rows }) => sum + rows, 0);
      expect(read).toBeLessThanOrEqual(limits.events + scans.length);
      if (share === 0.5) expect(scans.find(({ table }) => table === months[0])?.rows).toBe(0);
      expect(pagesOf(statements)).toBeLessThan(6_000);
    },
  );

  it('its end is one look at each index', async () => {
    const statements = await explained('end of the feed', (tx) => readFeedEdges(tx));
    expectIndexes(statements);
    expect(pagesOf(statements)).toBeLessThan(60);
  });
});
