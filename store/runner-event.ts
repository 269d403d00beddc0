import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { ProducedEvent, RunEvent } from '../contract/events.js';
import { jsonObjectSchema } from '../contract/json.js';
import { bodyHash, once } from './idempotency.js';
import { ingestUncounted } from './ingest.js';
import type { Pool, Queryable, Transaction } from './pool.js';
import { eventColumns, parseEvent } from './records.js';
import type { RunnerIdentity } from './runner-identity.js';

/** How an event without a sequence ended: stored, or kept in quarantine and refused. */
export interface UncountedEvent {
  readonly event: RunEvent | null;
  readonly refusal: AgentRunError | null;
  readonly quarantined: number;
  /** It is the answer of an earlier request with the same key. */
  readonly replayed: boolean;
}

const refusalSchema = z.object({
  failureKind: z.enum(['fenced', 'conflict']),
  message: z.string(),
  details: jsonObjectSchema,
});
/** What a key remembers: where the event is, never the event. A deletion of the session finds it by the session's id. */
const rememberedSchema = z.object({
  sessionId: z.string(),
  seq: z.number().nullable(),
  quarantined: z.number(),
  refusal: refusalSchema.nullable(),
});

/**
 * Stores one event of a runner that counts none (contract.md 5.3): as the next of its epoch, by the way of every batch. With a key a repeat answers as the
 * first request was answered and stores nothing.
 *
 * @throws AgentRunError `not-found`; `conflict` for a key with another event.
 */
export async function storeUncounted(
  pool: Pool,
  runner: RunnerIdentity,
  event: ProducedEvent,
  key: string | null,
): Promise<UncountedEvent> {
  const { runId } = runner;
  const scope =
    key === null
      ? undefined
      : { tenantId: await tenantOfRun(pool, runId), route: `POST /api/v1/runs/${runId}/events`, key };
  const { answer, replayed } = await once(pool, scope, bodyHash(event), (tx) => ingestOne(tx, runner, event));
  const { seq, refusal, quarantined } = rememberedSchema.parse(answer);
  return {
    event: seq === null ? null : await storedEvent(pool, runId, seq),
    refusal:
      refusal === null
        ? null
        : new AgentRunError(refusal.failureKind, refusal.message, { details: refusal.details }),
    quarantined: replayed ? 0 : quarantined,
    replayed,
  };
}

async function ingestOne(
  tx: Transaction,
  runner: RunnerIdentity,
  event: ProducedEvent,
): Promise<z.input<typeof rememberedSchema>> {
  const found = await tx.query<{ session_id: string }>(
    'select session_id from runs where run_id = $1 for no key update',
    [runner.runId],
  );
  const { refusal, quarantined } = await ingestUncounted(tx, runner, event);
  const log = await tx.query<{ last_seq: number }>('select last_seq from run_log where run_id = $1', [
    runner.runId,
  ]);
  return {
    sessionId: found.rows[0]?.session_id ?? '',
    seq: refusal === null ? (log.rows[0]?.last_seq ?? null) : null,
    quarantined,
    refusal: refusal === null ? null : refusalSchema.parse(refusal),
  };
}

async function tenantOfRun(db: Queryable, runId: string): Promise<string> {
  const found = await db.query<{ tenant_id: string }>('select tenant_id from runs where run_id = $1', [
    runId,
  ]);
  const tenantId = found.rows[0]?.tenant_id;
  if (tenantId === undefined) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  return tenantId;
}

async function storedEvent(db: Queryable, runId: string, seq: number): Promise<RunEvent> {
  const found = await db.query(`select ${eventColumns} from events e where e.run_id = $1 and e.seq = $2`, [
    runId,
    seq,
  ]);
  // A repeat may come after the events of its run have gone.
  if (found.rows.length === 0)
    throw new AgentRunError('not-found', `event ${seq} of run ${runId} is not kept any more`);
  return parseEvent(found.rows[0]);
}
