import { z } from 'zod';
import { idPrefixes } from '../contract/ids.js';
import type { Launcher } from '../contract/runs.js';
import type { AttemptSettings, PreparedAttempt } from './attempts.js';
import { newId } from './new-id.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { activateTurn, addCommand, insertRunLog } from './run-rows.js';

/** The turn that a session has going on, for its workflow; `attempt` is set when this look activated it. */
export interface ActiveTurn {
  readonly runId: string;
  readonly launcher: Launcher;
  readonly attempt: PreparedAttempt | null;
  /** Trace context of the message that began it. */
  readonly traceparent: string | null;
}

/**
 * The session's active turn after a look at everything stored: the one that is active; else the messages that came too late for the last
 * turn (the first becomes a turn, the others steer it, in order); else the oldest queued turn; else none. Heals a lost wake-up.
 */
export async function nextTurn(
  pool: Pool,
  settings: AttemptSettings,
  sessionId: string,
): Promise<ActiveTurn | null> {
  return withTransaction(pool, async (tx) => {
    const session = await tx.query<{ active_run_id: string | null }>(
      'select active_run_id from sessions where session_id = $1 for no key update',
      [sessionId],
    );
    if (session.rows.length === 0) return null;
    const active = await liveRun(tx, session.rows[0]?.active_run_id ?? null);
    if (active !== null) return active;
    const runId =
      (await turnFromLateSteers(tx, settings, sessionId)) ?? (await oldestQueuedRun(tx, sessionId));
    if (runId === null) return null;
    const attempt = await activateTurn(tx, settings, runId);
    return { runId, launcher: attempt.launcher, attempt, traceparent: await traceparentOf(tx, runId) };
  });
}

async function liveRun(tx: Transaction, runId: string | null): Promise<ActiveTurn | null> {
  if (runId === null) return null;
  const found = await tx.query<{ launcher: Launcher; traceparent: string | null }>(
    'select launcher, traceparent from runs where run_id = $1 and terminal_status is null',
    [runId],
  );
  const run = found.rows[0];
  return run === undefined ? null : { runId, ...run, attempt: null };
}

async function traceparentOf(tx: Transaction, runId: string): Promise<string | null> {
  const found = await tx.query<{ traceparent: string | null }>(
    'select traceparent from runs where run_id = $1',
    [runId],
  );
  return found.rows[0]?.traceparent ?? null;
}

async function oldestQueuedRun(tx: Transaction, sessionId: string): Promise<string | null> {
  const found = await tx.query<{ run_id: string }>(
    `select run_id from runs where session_id = $1 and terminal_status is null and session_turn is null
       and prompt_command_id is not null order by run_id limit 1`,
    [sessionId],
  );
  return found.rows[0]?.run_id ?? null;
}

const lateSteerSchema = z.object({ command_id: z.string(), run_id: z.string(), payload: z.json() });

async function turnFromLateSteers(
  tx: Transaction,
  settings: AttemptSettings,
  sessionId: string,
): Promise<string | null> {
  const found = await tx.query(
    `select command_id, run_id, payload from commands
      where session_id = $1 and steer_delivery = 'next-turn' and next_command_id is null order by command_id limit 100`,
    [sessionId],
  );
  const steers = z.array(lateSteerSchema).parse(found.rows);
  const first = steers[0];
  if (first === undefined) return null;
  const runId = await copyRun(tx, settings, first.run_id);
  for (const [index, steer] of steers.entries()) {
    const commandId = newId(idPrefixes.command);
    await addCommand(tx, {
      commandId,
      runId,
      type: index === 0 ? 'turn' : 'steer',
      payload: steer.payload,
      idempotencyKey: null,
    });
    await tx.query('update commands set next_command_id = $2 where command_id = $1', [
      steer.command_id,
      commandId,
    ]);
  }
  return runId;
}

/** A run for the next turn, with the values of the run whose turn had ended too early. */
async function copyRun(tx: Transaction, settings: AttemptSettings, fromRunId: string): Promise<string> {
  const runId = newId(idPrefixes.run);
  await tx.query(
    `insert into runs (run_id, tenant_id, project_id, session_id, conversation_id, session_metadata, backend_profile, provider_id,
       launcher, execution_policy, workspace, labels, metadata, traceparent)
     select $1, tenant_id, project_id, session_id, conversation_id, session_metadata, backend_profile, provider_id, $3, execution_policy,
       workspace, labels, metadata, traceparent from runs where run_id = $2`,
    [runId, fromRunId, settings.launcher],
  );
  await insertRunLog(tx, runId);
  return runId;
}
