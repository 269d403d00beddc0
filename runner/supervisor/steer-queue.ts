import { errorLine, pause } from '../../client/index.js';
import { type CommandPayload, type CommandRecord, commandPayloadSchema } from '../../contract/commands.js';
import type { DriverLog, SteerAnswer } from '../drivers/driver.js';

const retryMs = 250;

export interface SteerQueueOptions {
  readonly steer: (commandId: string, payload: CommandPayload) => Promise<SteerAnswer>;
  readonly onAccepted: (commandId: string) => void;
  /** This message can never be delivered to this agent. */
  readonly onRejected: (commandId: string, reason: string) => void;
  readonly log: DriverLog;
}

/**
 * Hands steers to the driver one after another, in their order. One that the turn cannot take yet is tried again while
 * the turn runs; what is left at the turn's end stays pending, and the store makes it the next turn (architecture.md 4.1).
 */
export class SteerQueue {
  readonly #options: SteerQueueOptions;
  readonly #waiting: CommandRecord[] = [];
  readonly #ended = new AbortController();
  #open = false;
  #running = false;

  constructor(options: SteerQueueOptions) {
    this.#options = options;
  }

  add(command: CommandRecord): void {
    this.#waiting.push(command);
    // What the assignment brought may be added after what came since. None is on its way before the turn has begun.
    if (!this.#open) this.#waiting.sort((one, other) => one.seq - other.seq);
    this.#run();
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
    for (let command = this.#waiting[0]; command !== undefined; command = this.#waiting[0]) {
      if (this.#ended.signal.aborted) break;
      if (await this.#deliver(command)) this.#waiting.shift();
      else await pause(retryMs, this.#ended.signal);
    }
    this.#running = false;
  }

  /** Whether the command is done with. */
  async #deliver(command: CommandRecord): Promise<boolean> {
    const payload = commandPayloadSchema.safeParse(command.payload).data;
    if (payload === undefined) {
      this.#options.onRejected(command.id, 'the payload does not fit the contract');
      return true;
    }
    let answer: SteerAnswer;
    try {
      answer = await this.#options.steer(command.id, payload);
    } catch (error) {
      this.#options.log.warn({ commandId: command.id, ...errorLine(error) }, 'steer failed');
      return false;
    }
    if (answer.answer === 'accepted') this.#options.onAccepted(command.id);
    else if (answer.answer === 'rejected') this.#options.onRejected(command.id, answer.reason);
    else return false;
    return true;
  }
}
