import { type ExecutionPolicy, executionPolicySchema } from '../../contract/execution-policy.js';
import { idPrefixes } from '../../contract/ids.js';
import type { Launcher } from '../../contract/runs.js';
import type { AttemptSettings } from '../../store/attempts.js';
import { newId } from '../../store/new-id.js';
import { type Pool, withTransaction } from '../../store/pool.js';
import { activateTurn, addCommand, insertRunLog } from '../../store/run-rows.js';

export const turnSettings: AttemptSettings = {
  launcher: 'process',
  fingerprintOf: () => 'fingerprint',
  runnerIdleTimeoutMs: 300_000,
  runnerLifeMs: 86_400_000,
};

/** A turn as the session's step leaves it: the prompt stored, the first attempt written. */
export interface StoredTurn {
  readonly sessionId: string;
  readonly runId: string;
  readonly promptId: string;
}

/** Stores a session with one active turn. */
export async function storeTurn(
  pool: Pool,
  options: {
    policy?: Partial<ExecutionPolicy>;
    launcher?: Launcher;
    prompt?: string;
    deadlineInMs?: number;
  } = {},
): Promise<StoredTurn> {
  const sessionId = newId(idPrefixes.session);
  const runId = newId(idPrefixes.run);
  const promptId = newId(idPrefixes.command);
  await withTransaction(pool, async (tx) => {
    await tx.query(
      `insert into sessions (session_id, tenant_id, project_id, backend_profile, expires_at)
       values ($1, 'acme', 'web', 'codex', now() + interval '1 day')`,
      [sessionId],
    );
    await tx.query(
      `insert into runs (run_id, tenant_id, project_id, session_id, backend_profile, launcher, execution_policy, deadline_at)
       values ($1, 'acme', 'web', $2, 'codex', $3, $4, now() + $5::float8 * interval '1 millisecond')`,
      [
        runId,
        sessionId,
        options.launcher ?? 'process',
        JSON.stringify(executionPolicySchema.parse(options.policy ?? {})),
        options.deadlineInMs ?? null,
      ],
    );
    await insertRunLog(tx, runId);
    await addCommand(tx, {
      commandId: promptId,
      runId,
      type: 'turn',
      payload: { prompt: options.prompt ?? 'do it' },
      idempotencyKey: null,
    });
    await activateTurn(tx, turnSettings, runId);
  });
  return { sessionId, runId, promptId };
}

/** Adds a command to a run, as an accepted message does. */
export async function storeCommand(pool: Pool, runId: string, type: 'steer' | 'answer'): Promise<string> {
  const commandId = newId(idPrefixes.command);
  await withTransaction(pool, (tx) =>
    addCommand(tx, { commandId, runId, type, payload: { prompt: type }, idempotencyKey: null }),
  );
  return commandId;
}

/** The current attempt is claimed, and its agent has said something. */
export async function claimTurn(pool: Pool, runId: string, leaseMs = 60_000): Promise<void> {
  await withTransaction(pool, async (tx) => {
    // The run's row first, as every writer of both takes it.
    await tx.query('select 1 from runs where run_id = $1 for update', [runId]);
    await tx.query(
      `with a as (
       update attempts set claimed_by = 'runner', claimed_at = now(), first_event_at = now(), first_output_at = now(),
         last_progress_at = now()
       from runs r where attempts.run_id = $1 and r.run_id = $1 and attempts.epoch = r.current_epoch
       returning attempts.job_name, attempts.epoch),
     r as (update runs set status = 'running', started_at = coalesce(started_at, now()) where run_id = $1),
     n as (
       insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, idle_timeout_ms, expires_at)
       select a.job_name, 'acme', session_id, 'codex', launcher, 'f', 'serving', 0, now() + interval '1 day'
         from a, runs where run_id = $1
       on conflict (job_name) do update set state = 'serving' returning job_name)
     insert into leases (job_name, run_id, epoch, runner_id, lease_ms, expires_at)
     select n.job_name, $1, a.epoch, 'runner', $2::int, now() + $2::int * interval '1 millisecond' from n, a`,
      [runId, leaseMs],
    );
  });
}

/** The agent of the current attempt asks a person; `expiresInMs`: null for no limit. */
export async function askPerson(
  pool: Pool,
  runId: string,
  expiresInMs: number | null = null,
): Promise<string> {
  const requestId = newId(idPrefixes.agentRequest);
  await pool.query(
    `insert into agent_requests (request_id, tenant_id, session_id, run_id, epoch, kind, fingerprint, request, expires_at)
     select $1, tenant_id, session_id, run_id, current_epoch, 'command', 'f', '{}', now() + $3::float8 * interval '1 millisecond'
       from runs where run_id = $2`,
    [requestId, runId, expiresInMs],
  );
  return requestId;
}

/** Stores an outcome of the current attempt, as its runner's report does. */
export async function storeAttemptOutcome(
  pool: Pool,
  runId: string,
  outcome: { terminalStatus: string; failureKind?: string; failureMessage?: string },
): Promise<void> {
  await pool.query(
    `update attempts a set outcome = $2, outcome_body = $3, outcome_at = now()
       from runs r where r.run_id = $1 and a.run_id = $1 and a.epoch = r.current_epoch`,
    [runId, outcome.terminalStatus, JSON.stringify(outcome)],
  );
}
