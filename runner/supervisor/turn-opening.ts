import { errorLine } from '../../client/index.js';
import { type CommandRecord, commandPayloadSchema, payloadText } from '../../contract/commands.js';
import type { ProducedEvent } from '../../contract/events.js';
import type { Assignment } from '../../contract/runners.js';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { AgentDriver, TurnEnd } from '../drivers/driver.js';
import type { Acknowledgements } from './acknowledgements.js';
import type { BootSteps } from './boot-steps.js';
import { resumeNote } from './resume-note.js';
import type { RunFolder } from './run-folder.js';
import type { SteerQueue } from './steer-queue.js';
import type { TurnEvents } from './turn-events.js';
import type { TurnProgress } from './turn-progress.js';
import { noteId, planTurnStart, type TurnStart } from './turn-start.js';

export interface TurnOpeningOptions {
  readonly assignment: Assignment;
  readonly driver: AgentDriver;
  readonly folder: RunFolder;
  readonly events: TurnEvents;
  readonly progress: TurnProgress;
  readonly boot: BootSteps;
  readonly acknowledgements: Acknowledgements;
  readonly steers: SteerQueue;
  readonly onThread: (threadId: string) => void;
  /** Whether the turn is to end before it has begun: cancelled, stopped, fenced or ended. Looked at right before something is sent. */
  readonly unwanted: () => boolean;
  readonly log: Logger;
}

const unwantedEnd: TurnEnd = { status: 'interrupted', failureKind: null, message: null, turnId: null };

/**
 * Opens the thread and sends what this attempt has to send (docs/adr/0011). Answers the turn's end when nothing was sent, undefined when the agent
 * is at work.
 *
 * @throws what the driver throws when the turn could not be begun.
 */
export async function openTurn(options: TurnOpeningOptions): Promise<TurnEnd | undefined> {
  const { assignment, driver, folder, events, progress, boot } = options;
  const later = assignment.epoch > 1;
  // What this run's own attempts wrote down is never older than the API's record, and may be newer.
  const remembered = later ? await folder.rememberedThread() : null;
  const opened = await boot.run('opening-thread', () =>
    driver.openThread({
      threadId: remembered?.threadId ?? assignment.threadId,
      approvalPolicy: assignment.run.executionPolicy.approvalPolicy,
      readHistory: later,
    }),
  );
  const { threadId, resumed } = opened;
  options.onThread(threadId);
  // A thread that the API named is in its record already: a warm turn pays nothing. Without ids more is written down, right before the prompt.
  const { messageIds } = driver.capabilities;
  if (messageIds && threadId !== assignment.threadId) await folder.rememberThread(assignment.epoch, threadId);
  events.add({ type: 'backend_status', payload: { phase: 'thread-opened', threadId, resumed } });

  const plan = planTurnStart(assignment, {
    resumed,
    history: opened.history,
    keepsMessageIds: messageIds,
    handedOver: remembered?.handedOver === true,
  });
  options.log.info({ start: plan.start, attempt: assignment.epoch, resumed }, 'turn start decided');
  if (plan.start !== 'fail') proveHeld(plan, opened.history?.lastTurn?.events ?? [], options);
  // What is over is over, also when a cancel came since.
  if (plan.start === 'fail' || plan.start === 'settle') return plan.end;
  if (options.unwanted()) return unwantedEnd;
  if (assignment.resume?.compact === true && resumed) {
    events.add({ type: 'backend_status', payload: { phase: 'compacting' } });
    await boot.run('compacting', () =>
      // Without room the turn fails as before, and says so itself.
      driver.compact().catch((error: unknown) => {
        options.log.warn(errorLine(error), 'the thread was not compacted');
      }),
    );
    if (options.unwanted()) return unwantedEnd;
  }
  await boot.run('sending-prompt', async () => {
    // Whether this agent had the prompt cannot be read from anything else, and the API may not hear of it.
    if (!messageIds) {
      await folder.rememberThread(assignment.epoch, threadId, { handedOver: true });
      if (options.unwanted()) return await folder.rememberThread(assignment.epoch, threadId);
    }
    await send(plan, options);
  });
  if (!messageIds && options.unwanted()) return unwantedEnd;
  events.add(boot.event());
  progress.phase = 'running';
  options.steers.turnBegun();
  return undefined;
}

async function send(
  plan: Extract<TurnStart, { start: 'prompt' | 'note' }>,
  { assignment, driver, events, acknowledgements, steers }: TurnOpeningOptions,
): Promise<void> {
  const payload = commandPayloadSchema.parse(plan.prompt.payload);
  for (const steer of plan.steers)
    if (events.expectSteer(steer.id) && driver.capabilities.steer) steers.add(steer);
  if (plan.start === 'prompt') {
    await driver.prompt(plan.prompt.id, payload);
    acknowledgements.add(plan.prompt.id);
  } else {
    const id = noteId(assignment.run.id, assignment.epoch);
    const { executionPolicy } = assignment.run;
    const note = resumeNote({
      epoch: assignment.epoch,
      maxAttempts: executionPolicy.maxAttempts,
      resume: assignment.resume,
      grants: assignment.grants,
    });
    events.showAs(id, note.logged);
    // The turn's settings hold on; its input does not come again.
    const { model, effort, outputSchema } = payload;
    await driver.prompt(id, {
      prompt: note.text,
      ...(model === undefined ? {} : { model }),
      ...(effort === undefined ? {} : { effort }),
      ...(outputSchema === undefined ? {} : { outputSchema }),
    });
  }
}

/**
 * Tells what the thread proves: its messages of ours were taken and delivered, whatever our record says; and of a turn that is over, what it said. The
 * log may have some of it already: readers upsert by item.
 */
function proveHeld(
  plan: Exclude<TurnStart, { start: 'fail' }>,
  lastEvents: readonly ProducedEvent[],
  { events, acknowledgements }: TurnOpeningOptions,
): void {
  for (const command of plan.held) {
    if (command.state === 'pending') acknowledgements.add(command.id);
    if (command.type === 'steer') events.expectSteer(command.id);
    if (command.deliveredAt === null) events.add(userMessage(command, lastEvents));
  }
  if (plan.start !== 'settle') return;
  for (const event of plan.events) if (event.type !== 'user_message') events.add(event);
}

function userMessage(command: CommandRecord, lastEvents: readonly ProducedEvent[]): ProducedEvent {
  const seen = lastEvents.find(
    (event) => event.type === 'user_message' && event.payload.commandId === command.id,
  );
  if (seen !== undefined) return seen;
  const payload = commandPayloadSchema.safeParse(command.payload).data;
  const text = payload === undefined ? '' : payloadText(payload);
  return { type: 'user_message', payload: { itemId: command.id, commandId: command.id, text } };
}
