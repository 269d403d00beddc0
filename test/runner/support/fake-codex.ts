import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { z } from 'zod';
import type { AgentRequest } from '../../../contract/agent-requests.js';
import type { ProducedEvent } from '../../../contract/events.js';
import type { ApprovalPolicy } from '../../../contract/execution-policy.js';
import type { AgentProcess, SpawnRequest } from '../../../runner/drivers/agent-processes.js';
import { CodexDriver } from '../../../runner/drivers/codex/codex-driver.js';
import type { TurnEnd } from '../../../runner/drivers/driver.js';
import type { ProxyObservation } from '../../../runner/proxy/proxy-observation.js';

const messageSchema = z.looseObject({
  id: z.union([z.number(), z.string()]).optional(),
  method: z.string().optional(),
  params: z.looseObject({}).optional(),
});
export type FakeMessage = z.infer<typeof messageSchema>;

export const fakeThreadId = 'thread-1';
export const fakeTurnId = 'turn-1';

/** As an answer: the request is refused with this. */
export class FakeRefusal {
  constructor(
    readonly code: number,
    readonly message: string,
    readonly data: unknown = null,
  ) {}
}

/**
 * A Codex that misbehaves as it is told, in place of the real process: a driver on the one side, the test on the other. Every request of the driver is
 * answered from `answers` by its method, `{}` by default; one whose answer is `undefined` gets none, and a {@link FakeRefusal} is an error.
 */
export class FakeCodex {
  readonly received: FakeMessage[] = [];
  readonly events: ProducedEvent[] = [];
  readonly ends: TurnEnd[] = [];
  readonly requests: AgentRequest[] = [];
  readonly closedRequests: string[] = [];
  readonly signals: string[] = [];
  notifications = 0;
  observation: ProxyObservation | null = null;
  readonly answers: Record<string, (params: Record<string, unknown>) => unknown> = {
    'thread/start': () => ({ thread: { id: fakeThreadId } }),
    'turn/start': () => ({ turn: { id: fakeTurnId } }),
    'turn/steer': () => ({ turnId: fakeTurnId }),
    'thread/turns/list': () => ({ data: [], nextCursor: null }),
  };
  readonly driver: CodexDriver;
  readonly #home = mkdtempSync(join(tmpdir(), 'agentrun-fake-codex-'));
  #process: SpawnRequest | undefined;

  /** `confirmMs` and `idleGraceMs` of the watchdog are 20 ms. */
  constructor() {
    const log = { info: () => undefined, warn: () => undefined };
    this.driver = new CodexDriver(
      {
        processes: { spawn: (request) => this.#spawn(request) },
        log,
        workspaceDirectory: '/workspace',
        agentHomeDirectory: this.#home,
        provider: { baseUrl: 'http://127.0.0.1:9/v1', placeholderKey: 'x', model: 'm' },
        lastObservation: () => this.observation,
        listener: {
          onEvent: (event) => this.events.push(event),
          onActivity: () => {
            this.notifications += 1;
          },
          onRequest: (request) => this.requests.push(request),
          onRequestClosed: (requestId) => this.closedRequests.push(requestId),
          onTurnEnd: (end) => this.ends.push(end),
        },
      },
      { idleGraceMs: 20, confirmMs: 20, confirmRounds: 2 },
    );
  }

  /** Starts the driver and opens a thread. */
  async thread(approvalPolicy: ApprovalPolicy = 'never'): Promise<void> {
    await this.driver.start();
    await this.driver.openThread({ threadId: null, approvalPolicy, readHistory: false });
  }

  /** The same and a turn that holds its prompt. The events are those after it. */
  async turn(approvalPolicy: ApprovalPolicy = 'never'): Promise<void> {
    await this.thread(approvalPolicy);
    await this.driver.prompt('cmd_one', { prompt: 'go' });
    this.notify('turn/started', { threadId: fakeThreadId, turn: { id: fakeTurnId } });
    this.userMessage('cmd_one');
    this.events.length = 0;
  }

  /** A message of ours is in the thread. */
  userMessage(clientId: string): void {
    const item = { type: 'userMessage', id: `item-${clientId}`, clientId, content: [] };
    this.notify('item/completed', { threadId: fakeThreadId, turnId: fakeTurnId, item });
  }

  notify(method: string, params: unknown): void {
    this.#say({ method, params });
  }

  ask(id: number, method: string, params: unknown): void {
    this.#say({ id, method, params });
  }

  threadStatus(type: string): void {
    this.notify('thread/status/changed', { threadId: fakeThreadId, status: { type } });
  }

  /** What the driver has sent by that method. */
  sent(method: string): FakeMessage[] {
    return this.received.filter((message) => message.method === method);
  }

  /** The driver's answer to a request of ours. */
  answerTo(id: number): FakeMessage | undefined {
    return this.received.find((message) => message.method === undefined && message.id === id);
  }

  async end(): Promise<TurnEnd | undefined> {
    await expect.poll(() => this.ends.length).toBe(1);
    return this.ends[0];
  }

  exit({ outOfMemory = false }: { readonly outOfMemory?: boolean } = {}): void {
    const process = this.#process;
    this.#process = undefined;
    process?.onExit({ code: null, signal: 'SIGKILL', error: null, outOfMemory });
  }

  dispose(): void {
    this.exit();
    rmSync(this.#home, { recursive: true, force: true });
  }

  #spawn(request: SpawnRequest): AgentProcess {
    this.#process = request;
    const current = () => this.#process !== request;
    return {
      write: (line) => this.#read(line),
      closeStdin: () => this.exit(),
      signal: (signal) => {
        this.signals.push(signal);
        setImmediate(() => this.exit());
      },
      get exited() {
        return current();
      },
    };
  }

  #read(line: string): void {
    const message = messageSchema.parse(JSON.parse(line));
    this.received.push(message);
    if (message.method === undefined || message.id === undefined) return;
    const answer = this.answers[message.method] ?? (() => ({}));
    const result = answer(message.params ?? {});
    if (result === undefined) return;
    const { id } = message;
    const said =
      result instanceof FakeRefusal
        ? { id, error: { code: result.code, message: result.message, data: result.data } }
        : { id, result };
    setImmediate(() => this.#say(said));
  }

  #say(message: unknown): void {
    this.#process?.onStdout(Buffer.from(`${JSON.stringify(message)}\n`));
  }
}
