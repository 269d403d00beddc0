import { type AuditOutcome, type AuditRecord, auditRecordSchema } from '../contract/audit.js';
import { idPrefixes, lowestIdAt } from '../contract/ids.js';
import type { Page } from '../contract/queries.js';
import { Conditions, cutPage, decodeCursor, idKeySchema, type Keyset } from './keyset.js';
import { newId } from './new-id.js';
import type { Queryable } from './pool.js';
import { isoTime } from './records.js';

/** What is known of a request before its effect. */
export interface AuditBeginning {
  readonly actor: string;
  readonly actorKind: AuditRecord['actorKind'];
  readonly tenantId: string | null;
  readonly operation: string;
  readonly method: string;
  readonly route: string;
  readonly resourceKind: string | null;
  readonly resourceId: string | null;
  readonly traceId: string;
}

/** What came of it. Resource and tenant: of what was created, where the request itself named none. */
export interface AuditEnd {
  readonly outcome: AuditOutcome;
  readonly status: number;
  readonly failureKind: string | null;
  readonly resourceKind: string | null;
  readonly resourceId: string | null;
  readonly tenantId: string | null;
}

/** Writes an entry before the effect that it is about; without its {@link endAudit} the outcome stays null. Answers its id. */
export async function beginAudit(db: Queryable, entry: AuditBeginning): Promise<string> {
  return insertEntry(db, entry, null);
}

/** Writes the whole entry of a request that had no effect, or of several of one kind. */
export async function recordRefusal(
  db: Queryable,
  entry: AuditBeginning,
  end: AuditEnd,
  requests = 1,
): Promise<void> {
  await insertEntry(db, entry, end, requests);
}

async function insertEntry(
  db: Queryable,
  entry: AuditBeginning,
  end: AuditEnd | null,
  requests = 1,
): Promise<string> {
  const id = newId(idPrefixes.auditEntry);
  await db.query(
    `insert into audit_log (audit_id, actor, actor_kind, tenant_id, operation, method, route, resource_kind, resource_id, trace_id,
       outcome, status, failure_kind, requests)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      id,
      entry.actor,
      entry.actorKind,
      entry.tenantId,
      entry.operation,
      entry.method,
      entry.route,
      entry.resourceKind,
      entry.resourceId,
      entry.traceId,
      end?.outcome ?? null,
      end?.status ?? null,
      end?.failureKind ?? null,
      requests,
    ],
  );
  return id;
}

/** Fills in what came of an entry's request, once: the table refuses a second time. */
export async function endAudit(db: Queryable, auditId: string, end: AuditEnd): Promise<void> {
  await db.query(
    `update audit_log set outcome = $2, status = $3, failure_kind = $4, tenant_id = coalesce(tenant_id, $7),
       resource_kind = case when resource_id is null then $5 else resource_kind end, resource_id = coalesce(resource_id, $6)
      where audit_id = $1`,
    [auditId, end.outcome, end.status, end.failureKind, end.resourceKind, end.resourceId, end.tenantId],
  );
}

/** Which entries, the newest first. `tenantId`: only those of this tenant. */
export interface AuditFilter {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly tenantId?: string | undefined;
  readonly actor?: string | undefined;
  readonly operation?: string | undefined;
  readonly resourceId?: string | undefined;
  readonly outcome?: AuditOutcome | undefined;
  /** ISO 8601; the first moment that counts. */
  readonly since?: string | undefined;
  /** ISO 8601; the first moment that does not count any more. */
  readonly until?: string | undefined;
}

const columns = `audit_id as id, ${isoTime('at')} as at, actor, actor_kind as "actorKind", tenant_id as "tenantId", operation, method, route,
  resource_kind as "resourceKind", resource_id as "resourceId", outcome, status, failure_kind as "failureKind", requests, trace_id as "traceId"`;
const keyset: Keyset<[string]> = { list: 'audit', key: idKeySchema };
/** Ids carry the clock of the API, `at` that of Postgres. */
const clockSlackMs = 3_600_000;

/** The statement of {@link listAudit}: an index or the order of the ids serves each condition, or it narrows what is walked. */
export function auditQuery(filter: AuditFilter): { text: string; values: unknown[] } {
  const where = new Conditions();
  where.equal('tenant_id', filter.tenantId);
  where.equal('actor', filter.actor);
  where.equal('operation', filter.operation);
  where.equal('resource_id', filter.resourceId);
  where.equal('outcome', filter.outcome);
  if (filter.since !== undefined) {
    where.add(`at >= ${where.parameter(filter.since)}`);
    where.add(`audit_id >= ${where.parameter(idAt(filter.since, -clockSlackMs))}`);
  }
  if (filter.until !== undefined) {
    where.add(`at < ${where.parameter(filter.until)}`);
    where.add(`audit_id < ${where.parameter(idAt(filter.until, clockSlackMs))}`);
  }
  const after = decodeCursor(keyset, filter.cursor);
  if (after !== undefined) where.add(`audit_id < ${where.parameter(after[0])}`);
  const limit = where.parameter(filter.limit + 1);
  return {
    text: `select ${columns} from audit_log where ${where.toString()} order by audit_id desc limit ${limit}`,
    values: where.values,
  };
}

/**
 * Entries, the newest first.
 *
 * @throws AgentRunError `schema-invalid` for a cursor that no page has answered.
 */
export async function listAudit(db: Queryable, filter: AuditFilter): Promise<Page<AuditRecord>> {
  const { text, values } = auditQuery(filter);
  const found = await db.query(text, values);
  const items = found.rows.map((row) => auditRecordSchema.parse(row));
  return cutPage(items, filter.limit, { list: keyset.list, keyOf: ({ id }) => [id], itemOf: (item) => item });
}

function idAt(time: string, shiftMs: number): string {
  return lowestIdAt(idPrefixes.auditEntry, Math.max(0, Date.parse(time) + shiftMs));
}
