import { z } from 'zod';
import type { CommandRecord, Outcome } from '../contract/commands.js';
import { AgentRunError } from '../contract/errors.js';
import { isTerminalState } from '../contract/states.js';
import { appendEvents } from './events.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';
import { commandColumns, parseCommand } from './records.js';
import { lockRunForRunner, type RunnerIdentity } from './runner-identity.js';

/** @throws AgentRunError `not-found`, also for a command of another tenant. */
export async function getCommand(
  db: Queryable,
  commandId: string,
  tenantId?: string,
): Promise<CommandRecord> {
  const found = await db.query(
    `select ${commandColumns} from commands c join runs r on r.run_id = c.run_id
      where c.command_id = $1 and ($2::text is null or r.tenant_id = $2)`,
    [commandId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `command ${commandId} does not exist`);
  return parseCommand(found.rows[0]);
}

/** Commands of a run in order, after `afterSeq`. */
export async function listCommands(
  db: Queryable,
  runId: string,
  page: { readonly afterSeq: number; readonly limit: number },
): Promise<CommandRecord[]> {
  const found = await db.query(
    `select ${commandColumns} from commands c where c.run_id = $1 and c.seq > $2 order by c.seq limit $3`,
    [runId, page.afterSeq, page.limit],
  );
  return found.rows.map(parseCommand);
}

const runStateSchema = z.object({
  cancelRequested: z.boolean(),
  cancelReason: z.string().nullable(),
  cancelDeadlineMs: z.number().nullable(),
  open: z.boolean(),
  currentEpoch: z.number(),
  ended: z.boolean(),
});

/**
 * A page of commands with what else ends a runner's long poll: a cancel request, or the run no longer open. An attempt whose end is decided gets
 * none: an answer that it took now would let a command begin only to be killed; the next attempt gets it.
 */
export async function readCommandPage(
  db: Queryable,
  runId: string,
  page: { readonly afterSeq: number; readonly limit: number; readonly forRunner?: boolean },
): Promise<{
  items: CommandRecord[];
  cancelRequested: boolean;
  cancelReason: string | null;
  cancelDeadlineMs: number | null;
  open: boolean;
  currentEpoch: number;
}> {
  const state = await db.query(
    `select cancel_requested_at is not null as "cancelRequested", cancel_reason as "cancelReason",
       cancel_deadline_ms as "cancelDeadlineMs", is_open and terminal_status is null as open, current_epoch as "currentEpoch",
       exists (select 1 from attempts a where a.run_id = r.run_id and a.epoch = r.current_epoch and a.ended_at is not null) as ended
     from runs r where run_id = $1`,
    [runId],
  );
  if (state.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const { ended, ...run } = runStateSchema.parse(state.rows[0]);
  return { ...run, items: ended && page.forRunner === true ? [] : await listCommands(db, runId, page) };
}

async function lockCommand(tx: Transaction, runId: string, commandId: string): Promise<CommandRecord> {
  const found = await tx.query(
    `select ${commandColumns} from commands c where c.command_id = $1 and c.run_id = $2 for update`,
    [commandId, runId],
  );
  if (found.rows.length === 0)
    throw new AgentRunError('not-found', `command ${commandId} is not one of run ${runId}`);
  return parseCommand(found.rows[0]);
}

/**
 * The runner's driver took the command. A repeat answers the same. The first acknowledged turn makes the run `running`.
 *
 * @throws AgentRunError `fenced`; `conflict` for a command that has ended, for example a cancelled steer: the runner leaves it out.
 */
export async function acknowledgeCommand(
  pool: Pool,
  runner: RunnerIdentity,
  commandId: string,
): Promise<CommandRecord> {
  return withTransaction(pool, async (tx) => {
    await lockRunForRunner(tx, runner);
    const command = await lockCommand(tx, runner.runId, commandId);
    if (command.state === 'acknowledged') return command;
    // An answer is completed by the event that the agent was told, which may be stored before this.
    if (command.type === 'answer' && command.state === 'completed') return command;
    if (isTerminalState(command.state)) {
      throw new AgentRunError('conflict', `command ${commandId} has ended: ${command.state}`);
    }
    await tx.query(
      `update commands set state = 'acknowledged', acknowledged_at = now(),
         steer_delivery = case when steer_delivery = 'pending' then 'acknowledged' else steer_delivery end
       where command_id = $1`,
      [commandId],
    );
    if (command.type === 'turn') {
      await tx.query(
        `update runs set status = 'running', started_at = coalesce(started_at, now()), updated_at = now()
          where run_id = $1 and status in ('pending', 'claimed')`,
        [runner.runId],
      );
    }
    return lockCommand(tx, runner.runId, commandId);
  });
}

/**
 * How a command ended, said by its runner. The same again answers the record.
 *
 * @throws AgentRunError `fenced`; `conflict` when it ended differently.
 */
export async function finishCommand(
  pool: Pool,
  runner: RunnerIdentity,
  commandId: string,
  outcome: Outcome,
): Promise<CommandRecord> {
  return withTransaction(pool, async (tx) => {
    await lockRunForRunner(tx, runner);
    const command = await lockCommand(tx, runner.runId, commandId);
    if (command.state === outcome.terminalStatus) return command;
    if (isTerminalState(command.state)) {
      throw new AgentRunError('conflict', `command ${commandId} has ended already: ${command.state}`);
    }
    await tx.query(
      `update commands set state = $2, finished_at = now(), acknowledged_at = coalesce(acknowledged_at, now()) where command_id = $1`,
      [commandId, outcome.terminalStatus],
    );
    return lockCommand(tx, runner.runId, commandId);
  });
}

/**
 * Withdraws a steer that no runner has taken yet; a repeat answers the same.
 *
 * @throws AgentRunError `conflict` when the agent has it already or it has ended differently.
 */
export async function cancelSteer(
  pool: Pool,
  command: CommandRecord,
  reason: string | undefined,
): Promise<CommandRecord> {
  return withTransaction(pool, async (tx) => {
    const run = await tx.query<{ current_epoch: number }>(
      'select current_epoch from runs where run_id = $1 for update',
      [command.runId],
    );
    const now = await lockCommand(tx, command.runId, command.id);
    if (now.type !== 'steer') throw new AgentRunError('conflict', `an ${now.type} cannot be taken back`);
    if (now.state === 'cancelled') return now;
    if (now.state !== 'pending') {
      throw new AgentRunError('conflict', `command ${command.id} cannot be cancelled: it is ${now.state}`);
    }
    await tx.query(
      `update commands set state = 'cancelled', steer_delivery = 'rejected', finished_at = now() where command_id = $1`,
      [command.id],
    );
    await appendEvents(tx, command.runId, run.rows[0]?.current_epoch ?? 0, [
      {
        type: 'steer_delivery',
        payload: { commandId: command.id, delivery: 'rejected', reason: reason ?? 'cancelled by request' },
      },
    ]);
    return lockCommand(tx, command.runId, command.id);
  });
}
