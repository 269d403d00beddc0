import { z } from 'zod';
import type { RunFailureKind } from '../contract/failure-kinds.js';
import { isTerminalState } from '../contract/states.js';
import { livePhases, phaseAfterEnd } from '../domain/runner-job-status.js';
import { closePendingRequests, expireDueRequests } from './agent-requests.js';
import { appendEvents } from './events.js';
import { refreshPauseClock } from './pause-clock.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { freeAttempt } from './retry-facts.js';
import { currentAttemptRow, lockSessionAndRun } from './run-lock.js';

/** How an attempt ended that is not the end of its run: it is tried again, or the turn is parked. */
export interface EndedAttempt {
  readonly runId: string;
  readonly epoch: number;
  readonly failureKind: RunFailureKind | null;
  readonly reason: string;
  /** False: it does not count against the run's attempts. */
  readonly counted: boolean;
  /** The next attempt compacts the thread first. */
  readonly compactNext: boolean;
  /** When the next attempt is to begin, for the log; null when it is parked. */
  readonly retryInMs: number | null;
  /** A provider's reset time, or how long to wait for one that named none; neither for a person. */
  readonly park: {
    readonly reason: 'person' | 'provider-limit';
    readonly untilMs: number | null;
    readonly delayMs: number | null;
  } | null;
}

/**
 * What is to be done after the end of an attempt was stored. `retry`: it is stored; `completed` and `cancelled`: that came first, nothing is
 * stored; `supervise`: a person answered first and the runner goes on; `leave`: the run has ended, or another attempt is current.
 */
export type AfterAttempt = 'retry' | 'completed' | 'cancelled' | 'supervise' | 'leave';

/**
 * Stores how an attempt ended, before its runner is ended (docs/adr/0013). Its pending requests are superseded, the next attempt asks anew; those
 * of a turn that is parked for a person stay. A repeat answers the same.
 */
export async function endAttempt(pool: Pool, end: EndedAttempt): Promise<AfterAttempt> {
  return withTransaction(pool, async (tx) => {
    const { runId, epoch, park } = end;
    const run = await lockSessionAndRun(tx, runId);
    if (isTerminalState(run.status) || run.current_epoch !== epoch) return 'leave';
    const attempt = await currentAttemptRow(tx, run);
    if (attempt?.outcome === 'completed') return 'completed';
    if (run.cancel_requested_at !== null) return 'cancelled';
    if (attempt?.ended === true) return 'retry';
    if (park?.reason === 'person' && !(await hasPendingRequest(tx, runId))) return 'supervise';
    await storeEnd(tx, end);
    if (park?.reason !== 'person') await closePendingRequests(tx, runId, 'superseded');
    await refreshPauseClock(tx, runId);
    await appendEvents(tx, runId, epoch, [
      {
        type: 'backend_status',
        payload: {
          phase: park === null ? 'attempt-ended' : 'parked',
          attempt: epoch,
          failureKind: end.failureKind,
          reason: end.reason,
          ...(park === null ? {} : { parkedFor: park.reason }),
          ...(end.retryInMs === null ? {} : { retryInMs: end.retryInMs }),
        },
      },
    ]);
    return 'retry';
  });
}

async function storeEnd(tx: Transaction, end: EndedAttempt): Promise<void> {
  const { runId, epoch, park } = end;
  await tx.query(
    `update attempts a set ended_at = now(), end_failure_kind = $3, end_reason = $4, compact_next = $6,
       counted = $5 and not ($3 is not distinct from 'runner-lost' and ${freeAttempt('a')})
      where run_id = $1 and epoch = $2`,
    [runId, epoch, end.failureKind, end.reason, end.counted, end.compactNext],
  );
  // What the runner itself has said about the end stands.
  await tx.query(
    'update runner_jobs set phase = $3, updated_at = now() where run_id = $1 and epoch = $2 and phase = any($4)',
    [runId, epoch, phaseAfterEnd(end.failureKind, park !== null), livePhases],
  );
  if (park === null) return;
  // The time without a reset time is booked when it begins: it ends early only with its run.
  await tx.query(
    `update runs set parked_at = now(), parked_reason = $2, updated_at = now(),
       parked_until = coalesce(to_timestamp($3::float8 / 1000), now() + $4::float8 * interval '1 millisecond'),
       provider_parked_ms = provider_parked_ms + coalesce($4::float8, 0)::bigint where run_id = $1`,
    [runId, park.reason, park.untilMs, park.delayMs],
  );
}

async function hasPendingRequest(tx: Transaction, runId: string): Promise<boolean> {
  const found = await tx.query(
    `select 1 from agent_requests where run_id = $1 and state = 'pending' limit 1`,
    [runId],
  );
  return found.rows.length > 0;
}

/** A look at a parked turn. `over`: the next attempt may begin; `waitMs`: nothing happens by itself before; null: only a person ends it. */
export type ParkLook =
  | { readonly state: 'parked'; readonly reason: 'person' | 'provider-limit'; readonly waitMs: number | null }
  | { readonly state: 'over' | 'cancelled' | 'deadline-exceeded' | 'leave' };

const parkRowSchema = z.object({
  terminal: z.boolean(),
  current_epoch: z.number(),
  cancelled: z.boolean(),
  deadline_left_ms: z.number().nullable(),
  reason: z.enum(['person', 'provider-limit']).nullable(),
  until_left_ms: z.number().nullable(),
  outcome: z.string().nullable(),
});

/**
 * Looks whether a parked turn goes on: its time is over, or no request of the agent is pending any more. Requests whose time is over end here,
 * since no runner is there to ask for it. Reads everything anew each time.
 */
export async function lookAtPark(
  pool: Pool,
  { runId, epoch }: { readonly runId: string; readonly epoch: number },
): Promise<ParkLook> {
  return withTransaction(pool, async (tx) => {
    await tx.query('select 1 from runs where run_id = $1 for no key update', [runId]);
    const leftMs = (column: string) => `(extract(epoch from ${column} - clock_timestamp()) * 1000)::float8`;
    const found = await tx.query(
      `select r.terminal_status is not null as terminal, r.current_epoch, r.cancel_requested_at is not null as cancelled,
         ${leftMs('r.deadline_at')} as deadline_left_ms, r.parked_reason as reason, ${leftMs('r.parked_until')} as until_left_ms,
         a.outcome from runs r left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch where r.run_id = $1`,
      [runId],
    );
    const run = parkRowSchema.parse(found.rows[0]);
    if (run.terminal || run.current_epoch !== epoch) return { state: 'leave' };
    if (run.reason === null || run.outcome === 'completed') return { state: 'over' };
    if (run.cancelled) return { state: 'cancelled' };
    if (run.deadline_left_ms !== null && run.deadline_left_ms <= 0) return { state: 'deadline-exceeded' };
    const waitsMs = run.deadline_left_ms === null ? [] : [run.deadline_left_ms];
    if (run.reason === 'provider-limit') {
      if (run.until_left_ms === null || run.until_left_ms <= 0) return { state: 'over' };
      waitsMs.push(run.until_left_ms);
    } else {
      await expireRequests(tx, runId, epoch);
      const pending = await nextExpiry(tx, runId);
      if (pending.count === 0) return { state: 'over' };
      if (pending.left_ms !== null) waitsMs.push(pending.left_ms);
    }
    // Whole milliseconds, and never a wait of none: the next look must not find the same again.
    const waitMs = waitsMs.length === 0 ? null : Math.max(1, Math.ceil(Math.min(...waitsMs)));
    return { state: 'parked', reason: run.reason, waitMs };
  });
}

async function expireRequests(tx: Transaction, runId: string, epoch: number): Promise<void> {
  const expired = await expireDueRequests(tx, runId);
  if (expired.length === 0) return;
  await appendEvents(
    tx,
    runId,
    epoch,
    expired.map((requestId) => ({
      type: 'approval_resolved' as const,
      payload: { requestId, resolution: 'timed-out', reason: 'nobody answered in time' },
    })),
  );
}

const expirySchema = z.object({ count: z.number(), left_ms: z.number().nullable() });

async function nextExpiry(tx: Transaction, runId: string): Promise<z.infer<typeof expirySchema>> {
  const found = await tx.query(
    `select count(*)::int as count, (extract(epoch from min(expires_at) - clock_timestamp()) * 1000)::float8 as left_ms
       from agent_requests where run_id = $1 and state = 'pending'`,
    [runId],
  );
  return expirySchema.parse(found.rows[0]);
}
