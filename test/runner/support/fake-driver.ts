import type { AgentRequestResolution } from '../../../contract/agent-requests.js';
import type { CommandPayload } from '../../../contract/commands.js';
import type { DriverCapabilities } from '../../../contract/runners.js';
import type {
  AgentDriver,
  DriverListener,
  OpenedThread,
  SteerAnswer,
  TurnEnd,
} from '../../../runner/drivers/driver.js';

/** A driver whose agent does what a test says, and that remembers what it was told. */
export class FakeDriver implements AgentDriver {
  readonly capabilities: DriverCapabilities = {
    steer: true,
    interrupt: true,
    resume: 'noReplay',
    approvals: true,
    usage: 'none',
    messageIds: true,
    diff: false,
  };
  alive = true;
  readonly calls: string[] = [];
  readonly sent: { readonly messageId: string; readonly payload: CommandPayload }[] = [];
  readonly answers: { readonly requestId: string; readonly resolution: AgentRequestResolution }[] = [];
  readonly openedWith: Parameters<AgentDriver['openThread']>[0][] = [];
  opened: OpenedThread = { threadId: 'thread-new', resumed: false, history: null };
  /** What it answers to the next steers; then it takes them. */
  readonly steerAnswers: SteerAnswer[] = [];
  /** An agent that does not hear. */
  deaf = false;
  /** One that does not even die. */
  immortal = false;
  beforePrompt: () => void = () => undefined;
  #listener: DriverListener | undefined;

  listen(listener: DriverListener): void {
    this.#listener = listener;
  }

  unlisten(): void {
    this.#listener = undefined;
  }

  /** What is served now. */
  get listener(): DriverListener {
    if (this.#listener === undefined) throw new Error('nobody listens');
    return this.#listener;
  }

  end(end: Partial<TurnEnd> = {}): void {
    this.#listener?.onTurnEnd({
      status: 'completed',
      failureKind: null,
      message: null,
      turnId: 'turn-1',
      ...end,
    });
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  openThread(thread: Parameters<AgentDriver['openThread']>[0]): Promise<OpenedThread> {
    this.openedWith.push(thread);
    return Promise.resolve(this.opened);
  }

  compact(): Promise<void> {
    this.calls.push('compact');
    return Promise.resolve();
  }

  prompt(messageId: string, payload: CommandPayload): Promise<{ turnId: string }> {
    this.beforePrompt();
    this.calls.push('prompt');
    this.sent.push({ messageId, payload });
    return Promise.resolve({ turnId: 'turn-1' });
  }

  steer(messageId: string, payload: CommandPayload): Promise<SteerAnswer> {
    this.calls.push('steer');
    this.sent.push({ messageId, payload });
    return Promise.resolve(this.steerAnswers.shift() ?? { answer: 'accepted' });
  }

  answer(requestId: string, resolution: AgentRequestResolution): Promise<void> {
    this.answers.push({ requestId, resolution });
    return Promise.resolve();
  }

  interrupt(): Promise<boolean> {
    this.calls.push('interrupt');
    // Without a turn there is nothing to interrupt, as in a real driver.
    if (!this.deaf && this.calls.includes('prompt')) this.end({ status: 'interrupted' });
    return Promise.resolve(true);
  }

  cleanUp(): Promise<boolean> {
    this.calls.push('cleanUp');
    return Promise.resolve(true);
  }

  kill(): void {
    this.calls.push('kill');
    if (this.immortal) return;
    this.alive = false;
    this.end({ status: 'failed', failureKind: 'agent-error', message: 'killed' });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
