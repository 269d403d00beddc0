import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idPrefixes, lowestIdAt } from '../../contract/ids.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { migrate, migrationsDirectory } from '../../store/migrate.js';
import { ensureEventPartitions, eventPartitions } from '../../store/partitions.js';
import { quietLog, startPostgres, type TestPostgres } from '../support/postgres.js';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(async () => {
  await postgres.stop();
});

const nowMs = Date.parse('2026-12-15T12:00:00Z');
const migrateOnce = (databaseUrl: string) =>
  migrate({ databaseUrl, directory: migrationsDirectory(packageRoot()), log: quietLog, nowMs });

async function rows<Row extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

describe('migrate', () => {
  it('lets several migrators run at once: one applies, the others find nothing to do', async () => {
    const url = await postgres.newEmptyDatabase();
    const applied = await Promise.all([migrateOnce(url), migrateOnce(url), migrateOnce(url)]);
    expect(applied.flat()).toEqual(['0001_initial', '0002_turns-that-are-never-lost']);
    expect(await migrateOnce(url)).toEqual([]);
  });

  it('makes partitions of this month and the two that follow, over the end of a year', async () => {
    const url = await postgres.newEmptyDatabase();
    await migrateOnce(url);
    const found = await rows<{ name: string }>(
      url,
      `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'events'::regclass order by 1`,
    );
    expect(found.map((row) => row.name)).toEqual([
      'events_2026_12',
      'events_2027_01',
      'events_2027_02',
      'events_default',
    ]);
  });

  it('stores the events of a run in the partition of the month in which it was made', async () => {
    const url = await postgres.newEmptyDatabase();
    await migrateOnce(url);
    const insert = `insert into events (run_id, seq, event_id, epoch, type, payload) values ($1, 1, 'evt_x', 1, 'diff', '{}')
      returning tableoid::regclass::text as partition`;
    const storedIn = async (timeMs: number) =>
      (await rows<{ partition: string }>(url, insert, [lowestIdAt(idPrefixes.run, timeMs)]))[0]?.partition;
    expect(await storedIn(nowMs)).toBe('events_2026_12');
    expect(await storedIn(Date.parse('2026-12-31T23:59:59.999Z'))).toBe('events_2026_12');
    expect(await storedIn(Date.parse('2027-01-01T00:00:00Z'))).toBe('events_2027_01');
    expect(await storedIn(Date.parse('2029-01-01T00:00:00Z'))).toBe('events_default');
  });

  it('moves rows that came before their partition into it', async () => {
    const url = await postgres.newEmptyDatabase();
    await migrateOnce(url);
    const later = Date.parse('2027-06-10T00:00:00Z');
    const runId = lowestIdAt(idPrefixes.run, later);
    await rows(
      url,
      `insert into events (run_id, seq, event_id, epoch, type, payload) values ($1, 1, 'evt_x', 1, 'diff', '{}')`,
      [runId],
    );
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await ensureEventPartitions(client, later);
    await client.end();
    const found = await rows<{ partition: string; rows: number }>(
      url,
      `select tableoid::regclass::text as partition, count(xid)::int as rows from events where run_id = $1 group by 1`,
      [runId],
    );
    expect(found).toEqual([{ partition: 'events_2027_06', rows: 1 }]);
  });

  it('has adjoining bounds', () => {
    const partitions = eventPartitions(nowMs);
    expect(partitions.slice(1).map((partition) => partition.from)).toEqual(
      partitions.slice(0, -1).map((partition) => partition.to),
    );
  });
});
