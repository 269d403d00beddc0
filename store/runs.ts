import { AgentRunError } from '../contract/errors.js';
import { type CreateRun, type RunRecord, runRecordSchema } from '../contract/runs.js';
import { createSessionSchema, type RunnerJobRecord } from '../contract/sessions.js';
import { bodyHash, once, storedAnswer, storedIdSchema } from './idempotency.js';
import type { Pool, Queryable } from './pool.js';
import { parseRun, parseRunnerJob, runColumns, runFrom, runnerJobColumns } from './records.js';
import { insertRun } from './run-rows.js';
import { type EnsureOptions, ensureSessionIn } from './sessions.js';

/** @throws AgentRunError `not-found`, also for a run of another tenant. */
export async function getRun(db: Queryable, runId: string, tenantId?: string): Promise<RunRecord> {
  const found = await db.query(
    `select ${runColumns} from ${runFrom} where r.run_id = $1 and ($2::text is null or r.tenant_id = $2)`,
    [runId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  return parseRun(found.rows[0]);
}

/**
 * Creates a run, `pending`, and its session where it does not exist (architecture.md 4.4, "POST runs"). Its turn begins with a command;
 * somebody else starts its runner. The same key answers the run as it was created.
 *
 * @throws AgentRunError as `ensureSession`; `conflict` for the same key with another body.
 */
export async function createRun(
  pool: Pool,
  body: CreateRun,
  options: {
    readonly traceparent: string | null;
    readonly key: string | null;
  } & EnsureOptions,
): Promise<{ run: RunRecord; replayed: boolean }> {
  const { traceparent, key } = options;
  const scope = key === null ? undefined : { tenantId: body.tenantId, route: 'POST /api/v1/runs', key };
  const { answer, replayed } = await once(pool, scope, bodyHash(body), async (tx) => {
    const { session } = await ensureSessionIn(
      tx,
      {
        ...createSessionSchema.parse({
          tenantId: body.tenantId,
          projectId: body.projectId,
          backendProfile: body.backendProfile,
          sessionId: body.sessionRef?.sessionId,
          conversationId: body.sessionRef?.conversationId,
          metadata: body.sessionRef?.metadata,
          workspace: body.workspace,
          executionPolicy: body.executionPolicy,
        }),
        threadId: body.sessionRef?.threadId ?? null,
      },
      options,
    );
    if (session.archivedAt !== null)
      throw new AgentRunError('conflict', `session ${session.sessionId} is archived; unarchive it to go on`);
    const runId = await insertRun(tx, session.sessionId, body, { launcher: 'external', traceparent });
    return getRun(tx, runId);
  });
  const run = await storedAnswer(runRecordSchema, answer, () =>
    getRun(pool, storedIdSchema.parse(answer).id, body.tenantId),
  );
  return { run, replayed };
}

/** The job of a run's newest attempt as it is recorded, or null. */
export async function latestRunnerJob(db: Queryable, runId: string): Promise<RunnerJobRecord | null> {
  const found = await db.query(
    `select ${runnerJobColumns} from runner_jobs j where j.run_id = $1 order by j.epoch desc limit 1`,
    [runId],
  );
  return found.rows.length === 0 ? null : parseRunnerJob(found.rows[0]);
}
