import { z } from 'zod';
import type { CommandRecord, Outcome } from '../contract/commands.js';
import { AgentRunError } from '../contract/errors.js';
import { isTerminalState } from '../contract/states.js';
import { appendEvents } from './events.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';
import { commandColumns, parseCommand, runnerCommandColumns } from './records.js';
import { lockRunForRunner, type RunnerIdentity, requireCurrent } from './runner-identity.js';
import { storableJson } from './storable-json.js';
import { watchedSql } from './watchers.js';

/** @throws AgentRunError `not-found`, also for a command of another tenant. */
export async function getCommand(
  db: Queryable,
  commandId: string,
  tenantId?: string,
): Promise<CommandRecord> {
  const found = await db.query(
    `select ${commandColumns} from commands c join runs r on r.run_id = c.run_id
       join sessions s on s.session_id = r.session_id and s.deleted_at is null
      where c.command_id = $1 and ($2::text is null or r.tenant_id = $2)`,
    [commandId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `command ${commandId} does not exist`);
  return parseCommand(found.rows[0]);
}

/**
 * A command as the runner that holds its run sees it: whole, and in its state of now.
 *
 * @throws AgentRunError `fenced`; `not-found`, also for a command of another run.
 */
export async function getRunnerCommand(
  db: Queryable,
  runner: RunnerIdentity,
  commandId: string,
): Promise<CommandRecord> {
  const found = await db.query(
    `select ${runnerCommandColumns} from commands c where c.command_id = $1 and c.run_id = $2`,
    [commandId, runner.runId],
  );
  // After the look: what was found belongs to a runner that is current still.
  await requireCurrent(db, runner);
  if (found.rows.length === 0) throw notOfRun(runner.runId, commandId);
  return parseCommand(found.rows[0]);
}

const notOfRun = (runId: string, commandId: string) =>
  new AgentRunError('not-found', `command ${commandId} is not one of run ${runId}`);

/** Which commands of a run; `forRunner`: for the runner that holds it, with the words of answers. */
export interface CommandRange {
  readonly afterSeq: number;
  readonly limit: number;
  readonly forRunner?: boolean;
}

/** Commands of a run in order, after `afterSeq`. */
export async function listCommands(
  db: Queryable,
  runId: string,
  page: CommandRange,
): Promise<CommandRecord[]> {
  const found = await db.query(
    `select ${columnsFor(page)} from commands c where c.run_id = $1 and c.seq > $2::bigint order by c.seq limit $3`,
    [runId, page.afterSeq, page.limit],
  );
  return found.rows.map(parseCommand);
}

const columnsFor = ({ forRunner }: CommandRange) =>
  forRunner === true ? runnerCommandColumns : commandColumns;

const pageRowSchema = z.object({
  items: z.array(z.unknown()),
  cancelRequested: z.boolean(),
  cancelReason: z.string().nullable(),
  cancelDeadlineMs: z.number().nullable(),
  open: z.boolean(),
  currentEpoch: z.number(),
  watched: z.boolean(),
});

/**
 * A page of commands with what else ends a runner's long poll: a cancel request, or the run no longer open. An attempt whose end is decided gets
 * none: an answer that it took now would let a command begin only to be killed; the next attempt gets it. One statement: commands and state are those of
 * one moment, so that a runner that finds itself current may have the commands that it finds.
 */
export async function readCommandPage(
  db: Queryable,
  runId: string,
  page: CommandRange,
): Promise<{
  items: CommandRecord[];
  cancelRequested: boolean;
  cancelReason: string | null;
  cancelDeadlineMs: number | null;
  open: boolean;
  currentEpoch: number;
  watched: boolean;
}> {
  const found = await db.query(
    `select cancel_requested_at is not null as "cancelRequested", cancel_reason as "cancelReason",
       cancel_deadline_ms as "cancelDeadlineMs", is_open and terminal_status is null as open, current_epoch as "currentEpoch",
       ${watchedSql('r.run_id')} as watched,
       coalesce((
         select jsonb_agg(to_jsonb(p) order by p.seq) from (
           select ${columnsFor(page)} from commands c
            where c.run_id = r.run_id and c.seq > $2::bigint and not ($4 and a.ended_at is not null) order by c.seq limit $3) p), '[]') as items
     from runs r left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch where r.run_id = $1`,
    [runId, page.afterSeq, page.limit, page.forRunner === true],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const { items, ...state } = pageRowSchema.parse(found.rows[0]);
  return { ...state, items: items.map(parseCommand) };
}

async function lockCommand(tx: Transaction, runId: string, commandId: string): Promise<CommandRecord> {
  const found = await tx.query(
    `select ${commandColumns} from commands c where c.command_id = $1 and c.run_id = $2 for update`,
    [commandId, runId],
  );
  if (found.rows.length === 0) throw notOfRun(runId, commandId);
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
 * How a command ended, said by its runner. The same again answers the record. What it says of a prompt counts where the status of the run is silent
 * ({@link storeOutcome}).
 *
 * @throws AgentRunError `fenced`; `conflict` when it ended differently, or was said to.
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
    if (isTerminalState(command.state)) {
      if (command.state === outcome.terminalStatus && (await isSaid(tx, commandId, outcome))) return command;
      throw new AgentRunError('conflict', `command ${commandId} has ended already: ${command.state}`, {
        details: { state: command.state },
      });
    }
    await tx.query(
      `update commands set state = $2, outcome = $3, finished_at = now(), acknowledged_at = coalesce(acknowledged_at, now())
        where command_id = $1`,
      [commandId, outcome.terminalStatus, storableJson(outcome)],
    );
    if (command.type === 'turn') {
      await tx.query(
        `update runs set thread_id = coalesce($2, thread_id), turn_id = coalesce($3, turn_id), updated_at = now() where run_id = $1`,
        [runner.runId, outcome.threadId ?? null, outcome.turnId ?? null],
      );
    }
    return lockCommand(tx, runner.runId, commandId);
  });
}

/** Whether a command that has ended was said to end so; one that ended with its run was told nothing else. */
async function isSaid(tx: Transaction, commandId: string, outcome: Outcome): Promise<boolean> {
  const found = await tx.query<{ same: boolean }>(
    'select outcome is null or outcome = $2::jsonb as same from commands where command_id = $1',
    [commandId, storableJson(outcome)],
  );
  return found.rows[0]?.same === true;
}

/** A steer that was withdrawn. `sendable`: a runner may have fetched it before, and then its agent may get it all the same. */
export interface WithdrawnSteer {
  readonly command: CommandRecord;
  readonly sendable: boolean;
}

/**
 * Withdraws a steer that no runner has acknowledged; a repeat answers the same. Certain only as long as no runner has claimed the run: one that has may
 * have fetched the steer and be about to send it. A runner looks at the record once more before it sends a steer that had to wait.
 *
 * @throws AgentRunError `conflict` when the agent has it already or it has ended differently.
 */
export async function cancelSteer(
  pool: Pool,
  command: CommandRecord,
  reason: string | undefined,
): Promise<WithdrawnSteer> {
  return withTransaction(pool, async (tx) => {
    await tx.query('select 1 from runs where run_id = $1 for no key update', [command.runId]);
    const run = await tx.query<{ current_epoch: number; claimed: boolean }>(
      `select current_epoch, exists (select 1 from attempts a where a.run_id = r.run_id and a.claimed_by is not null) as claimed
         from runs r where run_id = $1`,
      [command.runId],
    );
    const { current_epoch: epoch = 0, claimed: sendable = true } = run.rows[0] ?? {};
    const now = await lockCommand(tx, command.runId, command.id);
    if (now.type !== 'steer') throw new AgentRunError('conflict', `an ${now.type} cannot be taken back`);
    if (now.state === 'cancelled') return { command: now, sendable };
    if (now.state !== 'pending') {
      throw new AgentRunError('conflict', `command ${command.id} cannot be cancelled: it is ${now.state}`);
    }
    await tx.query(
      `update commands set state = 'cancelled', steer_delivery = 'rejected', finished_at = now() where command_id = $1`,
      [command.id],
    );
    await appendEvents(tx, command.runId, epoch, [
      {
        type: 'steer_delivery',
        payload: { commandId: command.id, delivery: 'rejected', reason: reason ?? 'cancelled by request' },
      },
    ]);
    return { command: await lockCommand(tx, command.runId, command.id), sendable };
  });
}
