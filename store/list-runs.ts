import type { LabelCondition, Page } from '../contract/queries.js';
import type { RunRecord } from '../contract/runs.js';
import { type BackendProfile, isTerminalState, type RunStatus } from '../contract/states.js';
import { Conditions, cutPage, decodeCursor, idKeySchema } from './keyset.js';
import type { Queryable } from './pool.js';
import { parseRun, runColumns, runFrom } from './records.js';

/** Which runs, and where the page begins. */
export interface RunListQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly tenantId?: string | undefined;
  readonly status?: RunStatus | undefined;
  readonly sessionId?: string | undefined;
  readonly projectId?: string | undefined;
  readonly backendProfile?: BackendProfile | undefined;
  readonly labels: readonly LabelCondition[];
}

const keyset = { list: 'runs', key: idKeySchema };

/**
 * A page of runs, the newest first: their ids sort by time. Those of a session that is being deleted are not in it.
 *
 * @throws AgentRunError `schema-invalid` for a cursor of another list.
 */
export async function listRuns(db: Queryable, query: RunListQuery): Promise<Page<RunRecord>> {
  const { text, values } = runListStatement(query);
  const found = await db.query(text, values);
  return cutPage(found.rows.map(parseRun), query.limit, {
    list: keyset.list,
    keyOf: (run) => [run.id],
    itemOf: (run) => run,
  });
}

/** The statement of a page, with a row more than the page has. */
export function runListStatement(query: RunListQuery): { text: string; values: unknown[] } {
  const after = decodeCursor(keyset, query.cursor);
  const where = new Conditions([query.limit + 1]);
  where.equal('r.tenant_id', query.tenantId);
  where.equal('r.session_id', query.sessionId);
  where.equal('r.project_id', query.projectId);
  where.equal('r.backend_profile', query.backendProfile);
  where.equal('r.status', query.status);
  // The same once more in the words of the indexes (store/migrations/0005): the status is in none of them.
  if (query.status !== undefined && isTerminalState(query.status)) {
    where.equal('r.terminal_status', query.status);
  } else if (query.status !== undefined) where.add('r.terminal_status is null');
  where.labels('r.labels', query.labels);
  if (after !== undefined) where.add(`r.run_id < ${where.parameter(after[0])}`);
  where.add(
    'not exists (select 1 from sessions d where d.session_id = r.session_id and d.deleted_at is not null)',
  );
  const text = `select ${runColumns} from ${runFrom} where ${where.toString()} order by r.run_id desc limit $1`;
  return { text, values: where.values };
}
