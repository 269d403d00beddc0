import { z } from 'zod';
import { type Outcome, outcomeSchema } from '../contract/commands.js';
import { AgentRunError } from '../contract/errors.js';
import type { JsonObject } from '../contract/json.js';
import type { RunRecord } from '../contract/runs.js';
import { livePhases, phaseAfterOutcome } from '../domain/runner-job-status.js';
import { appendEvents } from './events.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { isoTime, parseRun, runColumns, runFrom } from './records.js';
import { lockRunForRunner, type RunnerIdentity } from './runner-identity.js';
import { storableJson } from './storable-json.js';

export interface StoredOutcome {
  readonly run: RunRecord;
  readonly outcome: JsonObject;
  /** What the runner does now. */
  readonly runnerState: 'idle' | 'closing';
  readonly idleUntil: string | null;
}

/** Between turns, a runner whose life ends sooner than this after its idle time is of no use for another turn. */
const usefulLifeLeftMs = 60_000;

const earlierSchema = z.object({ outcome: z.string(), same: z.boolean() });

/**
 * Stores how an attempt ended, said by its runner (architecture.md 5): first writer wins, the same again answers the record. With
 * `completed`, in the same transaction, the run stops being open and undelivered steers become `next-turn` (architecture.md 4.1). The run
 * itself becomes terminal by its workflow only. Locks session, run, then the log.
 *
 * @throws AgentRunError `fenced`; `conflict` when a different outcome is stored.
 */
export async function storeOutcome(
  pool: Pool,
  runner: RunnerIdentity,
  said: Outcome,
): Promise<StoredOutcome> {
  return withTransaction(pool, async (tx) => {
    const outcome = await withPrompt(tx, runner.runId, said);
    const earlier = await earlierOutcome(tx, runner, outcome, said);
    if (earlier !== undefined) {
      if (earlier) return outcomeRecord(tx, runner, outcome);
      throw new AgentRunError(
        'conflict',
        `attempt ${runner.epoch} of run ${runner.runId} has a different outcome already`,
      );
    }
    await tx.query(
      'select 1 from sessions where session_id = (select session_id from runs where run_id = $1) for no key update',
      [runner.runId],
    );
    await lockRunForRunner(tx, runner);
    const meanwhile = await earlierOutcome(tx, runner, outcome, said);
    if (meanwhile === undefined) await writeOutcome(tx, runner, outcome);
    else if (!meanwhile) {
      throw new AgentRunError(
        'conflict',
        `attempt ${runner.epoch} of run ${runner.runId} has a different outcome already`,
      );
    }
    return outcomeRecord(tx, runner, outcome);
  });
}

/** What of an outcome is silent where the status of the prompt may have spoken. */
const isWhole = ({ terminalStatus, failureKind, failureMessage, threadId, turnId }: Outcome): boolean =>
  threadId != null &&
  turnId != null &&
  (terminalStatus === 'completed' ||
    terminalStatus === 'cancelled' ||
    (failureKind != null && failureMessage != null));

/** Old runners say how the prompt ended, with all its fields, and then how the run did, with fewer: the outcome is both, if they agree on the end. */
async function withPrompt(tx: Transaction, runId: string, said: Outcome): Promise<Outcome> {
  if (isWhole(said)) return said;
  const found = await tx.query<{ outcome: unknown }>(
    `select c.outcome from runs r join commands c on c.command_id = r.prompt_command_id
      where r.run_id = $1 and c.outcome ->> 'terminalStatus' = $2`,
    [runId, said.terminalStatus],
  );
  const prompt = outcomeSchema.safeParse(found.rows[0]?.outcome).data;
  if (prompt === undefined) return said;
  return {
    terminalStatus: said.terminalStatus,
    failureKind: said.failureKind ?? prompt.failureKind,
    failureMessage: said.failureMessage ?? prompt.failureMessage,
    threadId: said.threadId ?? prompt.threadId,
    turnId: said.turnId ?? prompt.turnId,
    provider: said.provider ?? prompt.provider,
  };
}

/** Undefined: none is stored; else whether it is this one. Also asked after the run has ended, so it knows no fence. */
async function earlierOutcome(
  tx: Transaction,
  runner: RunnerIdentity,
  outcome: Outcome,
  said: Outcome,
): Promise<boolean | undefined> {
  const found = await tx.query(
    `select outcome, outcome_body in ($4::jsonb, $5::jsonb) as same from attempts
      where run_id = $1 and epoch = $2 and claimed_by = $3 and outcome is not null`,
    [runner.runId, runner.epoch, runner.runnerId, storableJson(outcome), storableJson(said)],
  );
  return found.rows.length === 0 ? undefined : earlierSchema.parse(found.rows[0]).same;
}

async function writeOutcome(tx: Transaction, runner: RunnerIdentity, outcome: Outcome): Promise<void> {
  await tx.query(
    'update attempts set outcome = $3, outcome_body = $4, outcome_at = now() where run_id = $1 and epoch = $2',
    [runner.runId, runner.epoch, outcome.terminalStatus, storableJson(outcome)],
  );
  await tx.query(
    `update runs set thread_id = coalesce($2, thread_id), turn_id = coalesce($3, turn_id), updated_at = now(),
       is_open = is_open and $4 <> 'completed' where run_id = $1`,
    [runner.runId, outcome.threadId ?? null, outcome.turnId ?? null, outcome.terminalStatus],
  );
  if (outcome.threadId != null) {
    await tx.query(
      `update sessions set thread_id = $2, updated_at = now()
        where session_id = (select session_id from runs where run_id = $1)`,
      [runner.runId, outcome.threadId],
    );
  }
  // Late, of an attempt that was given up: only that it completed counts still, as for its run.
  await tx.query(
    `update runner_jobs set phase = $3, updated_at = now()
      where run_id = $1 and epoch = $2 and (phase = any($4) or $3 = 'succeeded')`,
    [runner.runId, runner.epoch, phaseAfterOutcome(outcome.terminalStatus), livePhases],
  );
  await releaseRunner(tx, runner, outcome);
  if (outcome.terminalStatus === 'completed') await endCommands(tx, runner);
}

/** What reached the agent ends with the turn; a steer that did not becomes the session's next turn, an answer is of no more use. */
async function endCommands(tx: Transaction, runner: RunnerIdentity): Promise<void> {
  const late = await tx.query<{ command_id: string }>(
    `update commands set steer_delivery = 'next-turn', state = 'cancelled', finished_at = now()
      where run_id = $1 and type = 'steer' and delivered_at is null and state in ('pending', 'acknowledged')
        and steer_delivery is distinct from 'rejected'
      returning command_id`,
    [runner.runId],
  );
  await tx.query(
    `update commands set state = case when type = 'answer' and state = 'pending' then 'cancelled' else 'completed' end, finished_at = now()
      where run_id = $1 and state in ('pending', 'acknowledged')`,
    [runner.runId],
  );
  if (late.rows.length === 0) return;
  await appendEvents(
    tx,
    runner.runId,
    runner.epoch,
    late.rows.map(({ command_id: commandId }) => ({
      type: 'steer_delivery' as const,
      payload: { commandId, delivery: 'next-turn', reason: 'the turn had ended first' },
    })),
  );
}

/**
 * After a turn that ended well or was cancelled the runner waits for the session's next; after a failure it goes. One that somebody else started is
 * gone for us with its only attempt: nobody here sees its process.
 */
async function releaseRunner(tx: Transaction, runner: RunnerIdentity, outcome: Outcome): Promise<void> {
  const reusable = outcome.terminalStatus === 'completed' || outcome.terminalStatus === 'cancelled';
  await tx.query(
    `update runners set updated_at = now(),
       state = case when w.waits then 'idle' when launcher = 'external' then 'gone' else 'closing' end,
       idle_until = case when w.waits then now() + idle_timeout_ms * interval '1 millisecond' end
     from (select $2 and idle_timeout_ms > 0 and expires_at > now() + (idle_timeout_ms + $3) * interval '1 millisecond' as waits
             from runners where job_name = $1) w
     where job_name = $1 and state = 'serving'`,
    [runner.jobName, reusable, usefulLifeLeftMs],
  );
}

const runnerRowSchema = z.object({ state: z.string(), idle_until: z.string().nullable() });

async function outcomeRecord(
  tx: Transaction,
  runner: RunnerIdentity,
  outcome: Outcome,
): Promise<StoredOutcome> {
  const run = await tx.query(`select ${runColumns} from ${runFrom} where r.run_id = $1`, [runner.runId]);
  const found = await tx.query(
    `select state, ${isoTime('idle_until')} as idle_until from runners where job_name = $1`,
    [runner.jobName],
  );
  const row = runnerRowSchema.safeParse(found.rows[0]).data;
  // Already serving the next run: it learns so from its long poll.
  const idle = row?.state === 'idle' || row?.state === 'serving';
  return {
    run: parseRun(run.rows[0]),
    outcome: { ...outcomeJson(outcome) },
    runnerState: idle ? 'idle' : 'closing',
    idleUntil: idle ? (row?.idle_until ?? null) : null,
  };
}

function outcomeJson(outcome: Outcome): JsonObject {
  const { terminalStatus, failureKind, failureMessage, threadId, turnId, provider } = outcome;
  return {
    terminalStatus,
    failureKind: failureKind ?? null,
    failureMessage: failureMessage ?? null,
    threadId: threadId ?? null,
    turnId: turnId ?? null,
    provider: provider ?? null,
  };
}
