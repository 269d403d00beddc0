import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { watchSession } from '../../cli/watch-session.js';
import type { RunEvent } from '../../contract/events.js';
import { createSession, eventually, type LocalStack, send, sendWithRepeats } from '../support/local-stack.js';
import { atHold, release } from '../support/scripted-control.js';

/** Lease 3 s (heartbeat 1 s), idle 20 s; small waits, so that what is proven is the order of things and not patience. */
export const faultPolicy = {
  leaseMs: 3_000,
  idleTimeoutMs: 20_000,
  partitionGraceMs: 15_000,
  retryBackoffMs: 100,
};

/** A message and the text by which it is found in the model's input. */
export interface Message {
  readonly commandId: string;
  readonly text: string;
}

/**
 * A turn of the scenario `stages` in a session of its own, with a watcher that keeps every event the API has served. Its stages are passed one by
 * one.
 */
export class StagedTurn {
  readonly local: LocalStack;
  readonly name: string;
  readonly sessionId: string;
  readonly runId: string;
  readonly prompt: Message;
  readonly steers: Message[] = [];
  readonly served: RunEvent[] = [];
  readonly #watching = new AbortController();
  readonly #watched: Promise<unknown>;

  private constructor(
    local: LocalStack,
    name: string,
    sent: { sessionId: string; runId: string; prompt: Message },
  ) {
    this.local = local;
    this.name = name;
    this.sessionId = sent.sessionId;
    this.runId = sent.runId;
    this.prompt = sent.prompt;
    this.#watched = watchSession({
      client: local.client,
      sessionId: sent.sessionId,
      from: { runId: sent.runId, seq: 0 },
      follow: false,
      signal: this.#watching.signal,
      onFrames: ([frame]) => {
        if (frame?.frame === 'event' && frame.data.runId === sent.runId) this.served.push(frame.data);
      },
    }).catch(() => undefined);
  }

  /** Sends the prompt; `name` must be new in the stack. */
  static async begin(
    local: LocalStack,
    name: string,
    policy: Record<string, number> = faultPolicy,
  ): Promise<StagedTurn> {
    const sessionId = await createSession(local, { executionPolicy: policy });
    const text = `PROMPT-${name}-END`;
    const { run, command } = await sendWithRepeats(
      local,
      sessionId,
      `${text} [[scenario:stages name=${name}]]`,
    );
    return new StagedTurn(local, name, { sessionId, runId: run.id, prompt: { commandId: command.id, text } });
  }

  async atFirstRequest(): Promise<void> {
    await atHold(this.local, `${this.name}-first`);
  }

  /** The model has called the command, which now waits for its file. */
  async atToolCall(): Promise<void> {
    await this.atFirstRequest();
    await release(this.local, `${this.name}-first`);
    await this.#event(
      'the command runs',
      ({ type, payload }) => type === 'command_execution' && payload.status === 'inProgress',
    );
  }

  /** The command has ended, the model is in the middle of its next answer. */
  async atMiddle(): Promise<void> {
    this.openGate();
    await this.atToolCall();
    await atHold(this.local, `${this.name}-middle`);
  }

  /** Sends a message into the turn; it is stored when this returns. */
  async steer(): Promise<Message> {
    const text = `STEER-${this.name}-${this.steers.length + 1}-END`;
    const sent = await send(this.local, this.sessionId, text);
    const message = { commandId: sent.command.id, text };
    this.steers.push(message);
    return message;
  }

  async steerReached(steer: Message, deliveries: readonly string[]): Promise<void> {
    await this.#event(
      `the steer is ${deliveries.join(' or ')}`,
      ({ type, payload }) =>
        type === 'steer_delivery' &&
        payload.commandId === steer.commandId &&
        deliveries.some((delivery) => payload.delivery === delivery),
    );
  }

  /** A steer has been delivered and the model stops in its last answer. */
  async atLastAnswer(): Promise<void> {
    await this.atMiddle();
    await this.steerReached(await this.steer(), ['delivered']);
    await release(this.local, `${this.name}-middle`);
    await atHold(this.local, `${this.name}-last`);
  }

  async lastAnswerIsLogged(): Promise<void> {
    await this.#event(
      'the last answer is in the log',
      ({ type, payload }) =>
        type === 'agent_message' && JSON.stringify(payload.text).includes('This is the last answer.'),
    );
  }

  /** Lets the command end that waits for its file. The agent may not have begun yet. */
  openGate(): void {
    const folder = join(this.local.dataDir, 'sessions', this.sessionId, 'agent');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, `${this.name}-go`), '');
  }

  /** From here on nothing holds the turn. */
  async goOn(): Promise<void> {
    this.openGate();
    await release(this.local, ...['first', 'middle', 'last'].map((stage) => `${this.name}-${stage}`));
  }

  async stopWatching(): Promise<void> {
    this.#watching.abort();
    await this.#watched;
  }

  async #event(what: string, matches: (event: RunEvent) => boolean): Promise<void> {
    await eventually(what, () => (this.served.some(matches) ? true : undefined), 30_000, 5);
  }
}
