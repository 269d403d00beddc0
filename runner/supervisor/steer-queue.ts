import { errorLine, pause } from '../../client/index.js';
import { type CommandPayload, type CommandRecord, commandPayloadSchema } from '../../contract/commands.js';
import type { DriverLog, SteerAnswer } from '../drivers/driver.js';

/** Between two tries of one steer; jittered by a quarter. */
const firstRetryMs = 250;
const lastRetryMs = 1_000;

export interface SteerQueueOptions {
  readonly steer: (commandId: string, payload: CommandPayload) => Promise<SteerAnswer>;
  /** The state of a steer in the API's record. Rejects while the API cannot say it. */
  readonly stateOf: (commandId: string, signal: AbortSignal) => Promise<CommandRecord['state']>;
  readonly onAccepted: (commandId: string) => void;
  /** This message can never be delivered to this agent. */
  readonly onRejected: (commandId: string, reason: string) => void;
  readonly log: DriverLog;
}

interface Waiting {
  readonly command: CommandRecord;
  /** It could be withdrawn before it was sent: its record is looked at first. */
  waited: boolean;
}

/**
 * Hands steers to the driver one after another, in their order. One that the turn cannot take yet is tried again while the turn runs; what is left at
 * the turn's end stays pending, and the store makes it the next turn (architecture.md 4.1). One that had to wait is sent only when it was not withdrawn
 * meanwhile; one of which nobody knows whether the agent has it is not sent again: only the thread can tell.
 */
export class SteerQueue {
  readonly #options: SteerQueueOptions;
  readonly #waiting: Waiting[] = [];
  readonly #ended = new AbortController();
  readonly #seen = new Set<string>();
  #wakeOnSight: (() => void) | undefined;
  #open = false;
  #running = false;

  constructor(options: SteerQueueOptions) {
    this.#options = options;
  }

  add(command: CommandRecord): void {
    this.#waiting.push({ command, waited: !this.#open || this.#running });
    // What the assignment brought may be added after what came since. None is on its way before the turn has begun.
    if (!this.#open) this.#waiting.sort((one, other) => one.command.seq - other.command.seq);
    this.#run();
  }

  /** The message is in the thread: it is not sent (again). */
  seen(commandId: string): void {
    this.#seen.add(commandId);
    this.#wakeOnSight?.();
  }

  /** The agent has the prompt: steers may follow. */
  turnBegun(): void {
    this.#open = true;
    this.#run();
  }

  turnEnded(): void {
    this.#ended.abort();
  }

  #run(): void {
    if (!this.#open || this.#running) return;
    this.#running = true;
    void this.#deliverAll();
  }

  async #deliverAll(): Promise<void> {
    const { signal } = this.#ended;
    let retryMs = firstRetryMs;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (signal.aborted) break;
      if (await this.#deliver(next)) {
        this.#waiting.shift();
        retryMs = firstRetryMs;
      } else {
        next.waited = true;
        await pause(retryMs * (0.75 + Math.random() * 0.5), signal);
        retryMs = Math.min(lastRetryMs, retryMs * 2);
      }
    }
    this.#running = false;
  }

  /** Whether the command is done with. */
  async #deliver({ command, waited }: Waiting): Promise<boolean> {
    const { onAccepted, onRejected } = this.#options;
    const payload = commandPayloadSchema.safeParse(command.payload).data;
    if (payload === undefined) {
      onRejected(command.id, 'the payload does not fit the contract');
      return true;
    }
    if (waited && !this.#seen.has(command.id)) {
      const wanted = await this.#isWanted(command.id);
      if (wanted !== true) return wanted === false;
      if (this.#ended.signal.aborted) return false;
    }
    let answer: SteerAnswer | undefined;
    if (!this.#seen.has(command.id)) {
      answer = await this.#steer(command.id, payload);
      if (answer.answer === 'unknown') await this.#sight(command.id);
    }
    if (answer?.answer === 'accepted' || this.#seen.has(command.id)) onAccepted(command.id);
    else if (answer?.answer === 'rejected') onRejected(command.id, answer.reason);
    else return false;
    return true;
  }

  async #steer(commandId: string, payload: CommandPayload): Promise<SteerAnswer> {
    try {
      return await this.#options.steer(commandId, payload);
    } catch (error) {
      this.#options.log.warn({ commandId, ...errorLine(error) }, 'steer failed');
      return { answer: 'unknown' };
    }
  }

  /** Undefined when the API cannot say it now. */
  async #isWanted(commandId: string): Promise<boolean | undefined> {
    try {
      const state = await this.#options.stateOf(commandId, this.#ended.signal);
      if (state === 'pending' || state === 'acknowledged') return true;
      this.#options.log.info({ commandId, state }, 'a steer is not sent any more');
      return false;
    } catch (error) {
      if (!this.#ended.signal.aborted)
        this.#options.log.warn(
          { commandId, ...errorLine(error) },
          'a steer waits: its record cannot be read',
        );
      return undefined;
    }
  }

  /** Resolves when the message was seen in the thread, or at the turn's end. */
  async #sight(commandId: string): Promise<void> {
    const { signal } = this.#ended;
    while (!this.#seen.has(commandId) && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wakeOnSight = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }
}
