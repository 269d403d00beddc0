import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { codexBinary } from '../../runner/drivers/codex/codex-binary.js';
import { codexHome, providerKeyVariable } from '../../runner/drivers/codex/codex-config.js';

const messageSchema = z.looseObject({
  id: z.number().optional(),
  method: z.string().optional(),
  result: z.unknown().optional(),
  error: z.looseObject({ message: z.string() }).optional(),
});
const threadSchema = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const turnSchema = z.looseObject({ turn: z.looseObject({ id: z.string() }) });
const textInput = (text: string) => [{ type: 'text', text, text_elements: [] }];
const turnLimitMs = 60_000;

/** The least that drives a Codex app-server: the baseline of the benches of turns and steers. */
export class BareCodex {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #replies = new Map<number, (message: z.infer<typeof messageSchema>) => void>();
  #onTurnEnd: (() => void) | undefined;
  #nextId = 1;

  private constructor(home: string) {
    this.#child = spawn(codexBinary(), ['app-server', '--strict-config'], {
      env: childEnvironment({
        HOME: home,
        CODEX_HOME: codexHome(home),
        [providerKeyVariable]: 'scripted-key',
      }),
      stdio: 'pipe',
    });
    this.#child.stderr.resume();
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const message = messageSchema.parse(JSON.parse(line));
      if (message.method === 'turn/completed') this.#onTurnEnd?.();
      if (message.method === undefined && message.id !== undefined) this.#replies.get(message.id)?.(message);
    });
  }

  static async start(home: string): Promise<BareCodex> {
    const codex = new BareCodex(home);
    await codex.#call('initialize', {
      clientInfo: { name: 'agentrun-bench', title: null, version: '0.0.0' },
      capabilities: { experimentalApi: true },
    });
    codex.#send({ method: 'initialized' });
    return codex;
  }

  async startThread(cwd: string): Promise<string> {
    const reply = await this.#call('thread/start', {
      cwd,
      approvalPolicy: 'never',
      sandbox: 'danger-full-access',
    });
    return threadSchema.parse(reply).thread.id;
  }

  /** One turn, until `turn/completed`. */
  async turn(threadId: string, text: string): Promise<void> {
    const ended = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the bare turn did not end')), turnLimitMs);
      this.#onTurnEnd = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    await this.#call('turn/start', { threadId, input: textInput(text) });
    await ended;
  }

  /** Begins a turn and answers its id. */
  async startTurn(threadId: string, text: string): Promise<string> {
    const reply = await this.#call('turn/start', { threadId, input: textInput(text) });
    return turnSchema.parse(reply).turn.id;
  }

  async steer(threadId: string, turnId: string, text: string): Promise<void> {
    await this.#call('turn/steer', { threadId, expectedTurnId: turnId, input: textInput(text) });
  }

  async close(): Promise<void> {
    const exited = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.stdin.end();
    await exited;
  }

  async #call(method: string, params: unknown): Promise<unknown> {
    const id = this.#nextId++;
    const reply = new Promise<z.infer<typeof messageSchema>>((resolve) => this.#replies.set(id, resolve));
    this.#send({ method, id, params });
    const { error, result } = await reply;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  #send(message: unknown): void {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
  }
}
