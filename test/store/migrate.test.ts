import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

/** Names of the migrations from one on, in their order. */
async function migrationsFrom(first: string): Promise<string[]> {
  const files = await readdir(migrationsDirectory(packageRoot()));
  return files
    .map((file) => file.replace(/\.sql$/, ''))
    .filter((name) => name >= first)
    .toSorted();
}

/** Applies only the migrations whose names match. */
async function migrateOnly(databaseUrl: string, names: RegExp): Promise<void> {
  const some = await mkdtemp(join(tmpdir(), 'migrations-'));
  const directory = migrationsDirectory(packageRoot());
  for (const name of (await readdir(directory)).filter((file) => names.test(file)))
    await copyFile(join(directory, name), join(some, name));
  await migrate({ databaseUrl, directory: some, log: quietLog, nowMs });
  await rm(some, { recursive: true });
}

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

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
    expect(applied.flat()).toEqual(await migrationsFrom('0001'));
    expect(await migrateOnce(url)).toEqual([]);
  });

  it('overwrites the words of answers that were delivered before, and of no other', async () => {
    const url = await postgres.newEmptyDatabase();
    await migrateOnly(url, /^000[12]_/);
    await rows(
      url,
      `insert into sessions (session_id, tenant_id, project_id, backend_profile, expires_at) values ('s', 't', 'p', 'codex', now());
       insert into runs (run_id, tenant_id, project_id, session_id, backend_profile, launcher, execution_policy)
         values ('run_1', 't', 'p', 's', 'codex', 'process', '{}');
       insert into agent_requests (request_id, tenant_id, session_id, run_id, epoch, kind, state, fingerprint, request, resolution, delivered_at)
         select id, 't', 's', 'run_1', 1, 'question', 'answered', 'f', '{}', '{"resolution":"answered","text":"old","answers":null}', delivered
           from (values ('told', now()), ('open', null)) as n(id, delivered);
       insert into commands (command_id, run_id, session_id, seq, type, payload, delivered_at)
         select id, 'run_1', 's', seq, type, '{"requestId":"r","text":"old","answers":{"a":["old"]}}', delivered
           from (values ('told', 1, 'answer', now()), ('open', 2, 'answer', null), ('turn', 3, 'turn', now())) as n(id, seq, type, delivered);
       insert into session_messages (command_id, tenant_id, session_id, route, idempotency_key, body_hash, body, decision)
         select id, 't', 's', 'r', id, 'h', body::jsonb, '{}'
           from (values ('told', '{"answer":{"requestId":"r","text":"old"}}'), ('turn', '{"payload":{"prompt":"old"}}')) as n(id, body);`,
    );
    expect(await migrateOnce(url)).toEqual(await migrationsFrom('0003'));
    const kept = await rows(
      url,
      `select 'request' as of, request_id as id from agent_requests where resolution::text like '%old%'
       union all select 'command', command_id from commands where payload::text like '%old%'
       union all select 'message', command_id from session_messages where body::text like '%old%' order by 1, 2`,
    );
    expect(kept).toEqual([
      { of: 'command', id: 'open' },
      { of: 'command', id: 'turn' },
      { of: 'message', id: 'turn' },
      { of: 'request', id: 'open' },
    ]);
  });

  it('gives up when a table stays locked, having done nothing, and is applied by the next run', async () => {
    const url = await postgres.newEmptyDatabase();
    await migrateOnly(url, /^000[123]_/);
    const reader = await connected(url);
    await reader.query('begin; select 1 from sessions');
    await expect(migrateOnce(url)).rejects.toMatchObject({ code: '55P03' });
    await reader.query('rollback');
    await reader.end();
    expect(await migrateOnce(url)).toEqual(await migrationsFrom('0004'));
  }, 30_000);

  it('lets an installation read and write while its indexes are built, and repairs those that were broken off', async () => {
    const url = await postgres.newEmptyDatabase();
    await migrateOnly(url, /^000[1234]_/);
    await rows(
      url,
      `insert into sessions (session_id, tenant_id, project_id, backend_profile, expires_at) values ('s', 't', 'p', 'codex', now())`,
    );
    const writer = await connected(url);
    await writer.query(`begin; update sessions set turns = 1 where session_id = 's'`);
    const client = await connected(url);
    await client.query(`set statement_timeout = '300ms'`);
    const build = 'create index concurrently if not exists sessions_by_labels on sessions using gin (labels)';
    await expect(client.query(build)).rejects.toMatchObject({ code: '57014' });
    await client.end();
    const invalid = () =>
      rows(
        url,
        `select indexrelid::regclass::text as name from pg_index where not indisvalid and indrelid = 'sessions'::regclass`,
      );
    expect(await invalid()).toEqual([{ name: 'sessions_by_labels' }]);

    const migrated = migrateOnce(url);
    const waits = `select 1 from pg_stat_activity where datname = current_database() and query ilike '%index concurrently%'
      and pid <> pg_backend_pid() and wait_event_type = 'Lock'`;
    await expect.poll(() => rows(url, waits), { timeout: 10_000 }).toHaveLength(1);
    await rows(
      url,
      `insert into sessions (session_id, tenant_id, project_id, backend_profile, expires_at) values ('s2', 't', 'p', 'codex', now())`,
    );
    await writer.query('commit');
    await writer.end();
    expect(await migrated).toEqual(await migrationsFrom('0005'));
    expect(await invalid()).toEqual([]);
    const found = await rows<{ indexname: string }>(
      url,
      `select indexname from pg_indexes where indexname in ('sessions_by_labels', 'runs_ended', 'runners_by_session', 'sessions_by_tenant')
        order by 1`,
    );
    expect(found.map((row) => row.indexname)).toEqual([
      'runners_by_session',
      'runs_ended',
      'sessions_by_labels',
    ]);
  }, 30_000);

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
