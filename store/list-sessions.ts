import { z } from 'zod';
import type { LabelCondition, Page } from '../contract/queries.js';
import type { SessionListState, SessionSummary } from '../contract/sessions.js';
import type { BackendProfile } from '../contract/states.js';
import { Conditions, creationKeySchema, cutPage, decodeCursor, exactTime } from './keyset.js';
import type { Queryable } from './pool.js';
import { executionStateSql, parseSummary, summaryColumns, summaryFrom } from './session-summaries.js';

/** Which sessions, seen by which reader, and where the page begins. */
export interface SessionListQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly readerId: string;
  readonly tenantId?: string | undefined;
  readonly state?: SessionListState | undefined;
  readonly backendProfile?: BackendProfile | undefined;
  readonly projectId?: string | undefined;
  readonly labels: readonly LabelCondition[];
}

const keyset = { list: 'sessions', key: creationKeySchema };
const rowSchema = z.looseObject({ sessionId: z.string(), created_key: z.string() });

/**
 * A page of sessions with their summaries, the newest first, in one statement. Deleted ones are never in it, archived ones only when asked for.
 *
 * @throws AgentRunError `schema-invalid` for a cursor of another list.
 */
export async function listSessions(db: Queryable, query: SessionListQuery): Promise<Page<SessionSummary>> {
  const { text, values } = sessionListStatement(query);
  const found = await db.query(text, values);
  return cutPage(
    found.rows.map((row) => rowSchema.parse(row)),
    query.limit,
    { list: keyset.list, keyOf: (row) => [row.created_key, row.sessionId], itemOf: parseSummary },
  );
}

/** The statement of a page, with a row more than the page has. */
export function sessionListStatement(query: SessionListQuery): { text: string; values: unknown[] } {
  const after = decodeCursor(keyset, query.cursor);
  const where = new Conditions([query.limit + 1, query.readerId]);
  where.add('s.deleted_at is null');
  where.add(`s.archived_at is ${query.state === 'archived' ? 'not null' : 'null'}`);
  where.equal('s.tenant_id', query.tenantId);
  where.equal('s.project_id', query.projectId);
  where.equal('s.backend_profile', query.backendProfile);
  where.labels('s.labels', query.labels);
  if (query.state !== undefined && query.state !== 'archived') {
    const narrowing = candidates[query.state];
    if (narrowing !== undefined) where.add(narrowing);
    where.equal(`(${executionStateSql})`, query.state);
  }
  if (after !== undefined) {
    const [createdAt, sessionId] = after;
    where.add(
      `(s.created_at, s.session_id) < (${where.parameter(createdAt)}::timestamptz, ${where.parameter(sessionId)})`,
    );
  }
  const text = `select ${summaryColumns}, ${exactTime('s.created_at')} as created_key from ${summaryFrom('$2')}
    where ${where.toString()} order by s.created_at desc, s.session_id desc limit $1`;
  return { text, values: where.values };
}

// A turn that is active or waits has a run that is open, or is a steer on its way to become one: few among all sessions, and indexed.
const busy = `s.session_id in (select o.session_id from runs o where o.terminal_status is null
  union all select c.session_id from commands c where c.steer_delivery = 'next-turn' and c.next_command_id is null)`;

/** What holds for every session of a state, and can be looked up: the state itself is worked out for those alone. */
const candidates: Readonly<Partial<Record<SessionListState, string>>> = {
  starting: busy,
  running: busy,
  waiting: busy,
  evicted: `s.storage_kind = 'evicted'`,
};
