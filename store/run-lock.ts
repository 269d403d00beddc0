import { z } from 'zod';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { runStatusSchema } from '../contract/states.js';
import type { Transaction } from './pool.js';

const lockedRunSchema = z.object({
  run_id: z.string(),
  session_id: z.string(),
  status: runStatusSchema,
  current_epoch: z.number(),
  prompt_command_id: z.string().nullable(),
  cancel_requested_at: z.date().nullable(),
  parked_at: z.date().nullable(),
  thread_id: z.string().nullable(),
  execution_policy: executionPolicySchema,
});
/** A run's row as it is under its lock. */
export type LockedRun = z.infer<typeof lockedRunSchema>;

/** Locks session, then run, as every writer of both does. */
export async function lockSessionAndRun(tx: Transaction, runId: string): Promise<LockedRun> {
  await tx.query(
    'select 1 from sessions where session_id = (select session_id from runs where run_id = $1) for no key update',
    [runId],
  );
  const row = await tx.query('select * from runs where run_id = $1 for no key update', [runId]);
  return lockedRunSchema.parse(row.rows[0]);
}

const attemptRowSchema = z.object({
  outcome: z.string().nullable(),
  failure_kind: z.string().nullable(),
  failure_message: z.string().nullable(),
  ended: z.boolean(),
});
/** How an attempt ended as far as its row says; `ended`: its workflow has decided about it. */
export type AttemptRow = z.infer<typeof attemptRowSchema>;

/** The row of the run's current attempt; null before the first. The caller holds the run's lock. */
export async function currentAttemptRow(tx: Transaction, run: LockedRun): Promise<AttemptRow | null> {
  const found = await tx.query(
    `select outcome, outcome_body ->> 'failureKind' as failure_kind, outcome_body ->> 'failureMessage' as failure_message,
       ended_at is not null as ended from attempts where run_id = $1 and epoch = $2`,
    [run.run_id, run.current_epoch],
  );
  return found.rows.length === 0 ? null : attemptRowSchema.parse(found.rows[0]);
}
