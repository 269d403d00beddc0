import { z } from 'zod';
import type { Page } from '../contract/queries.js';
import { type RunnerRecord, runnerRecordSchema } from '../contract/runners.js';
import type { RunnerState } from '../contract/states.js';
import { Conditions, creationKeySchema, cutPage, decodeCursor, exactTime } from './keyset.js';
import type { Queryable } from './pool.js';
import { isoTime } from './records.js';

/** Which runners, and where the page begins. */
export interface RunnerListQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly tenantId?: string | undefined;
  readonly state?: RunnerState | undefined;
  readonly sessionId?: string | undefined;
}

const keyset = { list: 'runners', key: creationKeySchema };

const columns = `
  n.job_name as "jobName", n.runner_id as "runnerId", n.tenant_id as "tenantId", n.session_id as "sessionId",
  n.backend_profile as "backendProfile", n.launcher, n.state, n.run_id as "runId", n.epoch, n.version,
  ${isoTime('l.expires_at')} as "leaseExpiresAt", ${isoTime('l.heartbeat_at')} as "heartbeatAt",
  ${isoTime('n.idle_until')} as "idleUntil", ${isoTime('n.expires_at')} as "expiresAt",
  ${isoTime('n.created_at')} as "createdAt", ${isoTime('n.updated_at')} as "updatedAt", false as "valuesPrinted"`;
const rowSchema = runnerRecordSchema.extend({ created_key: z.string() });

/**
 * A page of runners, the newest first. Those of a session that is being deleted are not in it.
 *
 * @throws AgentRunError `schema-invalid` for a cursor of another list.
 */
export async function listRunners(db: Queryable, query: RunnerListQuery): Promise<Page<RunnerRecord>> {
  const { text, values } = runnerListStatement(query);
  const found = await db.query(text, values);
  return cutPage(
    found.rows.map((row) => rowSchema.parse(row)),
    query.limit,
    {
      list: keyset.list,
      keyOf: (row) => [row.created_key, row.jobName],
      // Without the key.
      itemOf: (row) => runnerRecordSchema.parse(row),
    },
  );
}

/** The statement of a page, with a row more than the page has. */
export function runnerListStatement(query: RunnerListQuery): { text: string; values: unknown[] } {
  const after = decodeCursor(keyset, query.cursor);
  const where = new Conditions([query.limit + 1]);
  where.equal('n.tenant_id', query.tenantId);
  where.equal('n.session_id', query.sessionId);
  where.equal('n.state', query.state);
  // Those that are alive are few among all, and have an index of their own.
  if (query.state !== undefined && query.state !== 'gone') where.add(`n.state <> 'gone'`);
  if (after !== undefined) {
    const [createdAt, jobName] = after;
    where.add(
      `(n.created_at, n.job_name) < (${where.parameter(createdAt)}::timestamptz, ${where.parameter(jobName)})`,
    );
  }
  where.add(
    'not exists (select 1 from sessions d where d.session_id = n.session_id and d.deleted_at is not null)',
  );
  const text = `select ${columns}, ${exactTime('n.created_at')} as created_key
    from runners n left join leases l on l.job_name = n.job_name
    where ${where.toString()} order by n.created_at desc, n.job_name desc limit $1`;
  return { text, values: where.values };
}
