import type { CommandRecord } from '../../contract/commands.js';
import type { ProducedEvent } from '../../contract/events.js';
import type { Assignment } from '../../contract/runners.js';
import type { ThreadHistory, TurnEnd } from '../drivers/driver.js';

/** What an attempt begins with. `steers` are sent after it, in their order; `held` are the messages that the thread has already. */
export type TurnStart =
  | {
      readonly start: 'prompt';
      readonly prompt: CommandRecord;
      readonly steers: readonly CommandRecord[];
      readonly held: readonly CommandRecord[];
    }
  | {
      readonly start: 'note';
      readonly prompt: CommandRecord;
      readonly steers: readonly CommandRecord[];
      readonly held: readonly CommandRecord[];
    }
  | {
      readonly start: 'settle';
      readonly end: TurnEnd;
      readonly events: readonly ProducedEvent[];
      readonly held: readonly CommandRecord[];
    }
  | { readonly start: 'fail'; readonly end: TurnEnd };

/** The thread as the driver opened it. */
export interface ThreadFacts {
  readonly resumed: boolean;
  readonly history: ThreadHistory | null;
  /** Whether this kind of agent keeps the ids of our messages (its capabilities). */
  readonly keepsMessageIds: boolean;
  /** A former attempt wrote down that it was about to give the prompt to its agent; the API may not have heard of it. */
  readonly handedOver: boolean;
}

/** Id of the note that attempt `epoch` sends to the agent. */
export function noteId(runId: string, epoch: number): string {
  return `note_${runId}_${epoch}`;
}

/**
 * Decides what an attempt sends to the agent (docs/adr/0011). Pure.
 *
 * | attempt | the thread                                                      | what is sent                                          |
 * | ------- | --------------------------------------------------------------- | ----------------------------------------------------- |
 * | first   | any                                                             | the prompt, then the steers                           |
 * | later   | fresh (no rollout)                                              | the prompt, then the steers                           |
 * | later   | does not hold the prompt                                        | the prompt, then the steers it does not hold          |
 * | later   | holds it, and its last turn is of this run and completed        | nothing: settled from the history                     |
 * | later   | holds it otherwise                                              | a note, then the steers it does not hold              |
 * | later   | of an agent without ids, the prompt was never handed over       | the prompt, then the steers never acknowledged        |
 * | later   | of an agent without ids, the prompt was handed over             | nothing: the attempt fails, it may have had its effect |
 *
 * Without a list of ids (a history beyond the driver's bound) our own record of deliveries stands for it; to one that does not reach to the beginning of
 * the thread it is added. An agent without ids has the prompt when the API's record says so or when a former attempt wrote it down.
 */
export function planTurnStart(
  assignment: Pick<Assignment, 'run' | 'epoch' | 'commands'>,
  thread: ThreadFacts,
): TurnStart {
  const { commands, epoch } = assignment;
  const prompt = commands.find((command) => command.type === 'turn');
  if (prompt === undefined) return failed('infra-failed', 'the assignment holds no prompt');
  const steers = commands.filter(isDeliverableSteer);
  if (epoch > 1 && !thread.keepsMessageIds) return planWithoutIds(prompt, steers, epoch, thread);
  if (epoch <= 1 || !thread.resumed) return { start: 'prompt', prompt, steers, held: [] };

  const ids = heldIds(commands, thread);
  const held = commands.filter((command) => ids.has(command.id));
  const missing = steers.filter((command) => !ids.has(command.id));
  if (!ids.has(prompt.id)) return { start: 'prompt', prompt, steers: missing, held };
  const lastTurn = thread.history?.lastTurn ?? null;
  if (
    lastTurn?.end.status === 'completed' &&
    [...lastTurn.messageIds].some((id) => isOfRun(id, assignment))
  ) {
    return { start: 'settle', end: lastTurn.end, events: lastTurn.events, held };
  }
  return { start: 'note', prompt, steers: missing, held };
}

function planWithoutIds(
  prompt: CommandRecord,
  steers: readonly CommandRecord[],
  epoch: number,
  { handedOver }: Pick<ThreadFacts, 'handedOver'>,
): TurnStart {
  if (!handedOver && prompt.state === 'pending' && prompt.deliveredAt === null) {
    return {
      start: 'prompt',
      prompt,
      steers: steers.filter((command) => command.state === 'pending'),
      held: [],
    };
  }
  return failed(
    'runner-lost',
    `attempt ${epoch - 1} was lost after its agent had taken the prompt; this kind of agent cannot say how far it came, so the prompt is not sent twice`,
  );
}

function failed(failureKind: NonNullable<TurnEnd['failureKind']>, message: string): TurnStart {
  return { start: 'fail', end: { status: 'failed', failureKind, message, turnId: null } };
}

/** In a thread that lost a message, what the log says of its delivery does not count; what was decided about it does. */
function isDeliverableSteer(command: CommandRecord): boolean {
  return (
    command.type === 'steer' &&
    (command.state === 'pending' || command.state === 'acknowledged') &&
    command.steerDelivery !== 'rejected' &&
    command.steerDelivery !== 'next-turn'
  );
}

function heldIds(
  commands: readonly CommandRecord[],
  { history }: Pick<ThreadFacts, 'history'>,
): ReadonlySet<string> {
  const listed = history?.messageIds ?? null;
  if (listed === null) return recordedIds(commands);
  return history?.truncated === true ? new Set([...listed, ...recordedIds(commands)]) : listed;
}

function recordedIds(commands: readonly CommandRecord[]): ReadonlySet<string> {
  return new Set(commands.filter((command) => command.deliveredAt !== null).map((command) => command.id));
}

/** A message of this run: one of its commands, or a note of one of its attempts. */
function isOfRun(id: string, { run, commands }: Pick<Assignment, 'run' | 'commands'>): boolean {
  return id.startsWith(noteId(run.id, 0).slice(0, -1)) || commands.some((command) => command.id === id);
}
