import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';

const replySchema = z.object({
  id: z.number(),
  result: z.unknown().optional(),
  error: z.looseObject({ message: z.string() }).optional(),
});
const itemSchema = z.looseObject({ id: z.string(), type: z.string(), text: z.string().optional() });
const notificationSchema = z.object({
  method: z.string(),
  params: z
    .looseObject({
      threadId: z.string().optional(),
      turnId: z.string().optional(),
      item: itemSchema.optional(),
      turn: z.looseObject({ id: z.string(), status: z.string(), error: z.unknown() }).optional(),
    })
    .default({}),
});
export type Notification = z.infer<typeof notificationSchema>;
type Predicate = (notification: Notification) => boolean;

const threadReplySchema = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const turnReplySchema = z.looseObject({ turn: z.looseObject({ id: z.string() }) });

const waitLimitMs = 20_000;

/** Where Codex keeps its things; outlives one process so that a thread can be resumed. */
export interface CodexHome {
  readonly codexHome: string;
  readonly workspace: string;
  remove(): Promise<void>;
}

/** An empty workspace and a CODEX_HOME whose provider is the given Responses API. */
export async function createCodexHome(serverUrl: string, streamIdleTimeoutMs = 20_000): Promise<CodexHome> {
  const folder = await mkdtemp(join(tmpdir(), 'agentrun-codex-'));
  const [codexHome, workspace] = await Promise.all([
    mkdtemp(join(folder, 'home-')),
    mkdtemp(join(folder, 'work-')),
  ]);
  await writeFile(join(codexHome, 'config.toml'), configToml(serverUrl, streamIdleTimeoutMs));
  return { codexHome, workspace, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** A real `codex app-server`, spoken to over stdio as agents.md 2.1 describes. For tests. */
export class CodexAppServer {
  readonly notifications: Notification[] = [];
  private readonly child;
  private readonly exited: Promise<void>;
  private readonly replies = new Map<number, (reply: z.infer<typeof replySchema>) => void>();
  private readonly waiting = new Set<() => void>();
  private nextId = 1;

  private constructor(private readonly home: CodexHome) {
    const env = childEnvironment({
      HOME: home.codexHome,
      CODEX_HOME: home.codexHome,
      AGENTRUN_PROVIDER_KEY: 'scripted-test-key',
    });
    const program = join(packageRoot(), 'node_modules', '.bin', 'codex');
    // The npm wrapper starts the real binary as its child: a group of its own, so that both end together.
    this.child = spawn(program, ['app-server', '--strict-config'], {
      env,
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    this.exited = new Promise((resolve) => this.child.once('exit', () => resolve()));
    createInterface({ input: this.child.stdout }).on('line', (line) => this.receive(line));
  }

  static async start(home: CodexHome): Promise<CodexAppServer> {
    const server = new CodexAppServer(home);
    await server.call('initialize', {
      clientInfo: { name: 'agentrun-test', title: null, version: '0.0.0' },
      capabilities: { experimentalApi: true },
    });
    server.send({ method: 'initialized' });
    return server;
  }

  async startThread(): Promise<string> {
    const policy = { approvalPolicy: 'never', sandbox: 'danger-full-access' };
    const reply = await this.call('thread/start', { cwd: this.home.workspace, ...policy });
    return threadReplySchema.parse(reply).thread.id;
  }

  async startTurn(threadId: string, text: string, clientUserMessageId?: string): Promise<string> {
    const reply = await this.call('turn/start', { threadId, input: textInput(text), clientUserMessageId });
    return turnReplySchema.parse(reply).turn.id;
  }

  async steer(threadId: string, expectedTurnId: string, text: string): Promise<void> {
    await this.call('turn/steer', { threadId, expectedTurnId, input: textInput(text) });
  }

  /** Waits for `turn/completed`; gives its status and the text of the last complete agent message of the turn. */
  async turnEnd(turnId: string): Promise<{ status: string; error: unknown; finalText: string }> {
    const end = await this.next((one) => one.method === 'turn/completed' && one.params.turn?.id === turnId);
    const messages = this.notifications.filter(
      ({ method, params }) =>
        method === 'item/completed' && params.turnId === turnId && params.item?.type === 'agentMessage',
    );
    const finalText = messages.at(-1)?.params.item?.text ?? '';
    return { status: end.params.turn?.status ?? 'unknown', error: end.params.turn?.error, finalText };
  }

  /** The first notification, past or to come, that fits. @throws after 20 s, with what came instead. */
  async next(fits: Predicate): Promise<Notification> {
    const deadline = AbortSignal.timeout(waitLimitMs);
    for (;;) {
      const found = this.notifications.find(fits);
      if (found) return found;
      await new Promise<void>((resolve, reject) => {
        const wake = () => {
          this.waiting.delete(wake);
          deadline.removeEventListener('abort', late);
          resolve();
        };
        const late = () => {
          this.waiting.delete(wake);
          reject(
            new Error(
              `not seen; last were ${this.notifications
                .slice(-5)
                .map((one) => one.method)
                .join(', ')}`,
            ),
          );
        };
        deadline.addEventListener('abort', late, { once: true });
        this.waiting.add(wake);
      });
    }
  }

  async call(method: string, params: unknown): Promise<unknown> {
    const id = this.nextId++;
    const reply = new Promise<z.infer<typeof replySchema>>((resolve) => this.replies.set(id, resolve));
    this.send({ method, id, params });
    const { error, result } = await reply;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  async kill(): Promise<void> {
    if (this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null) {
      try {
        process.kill(-this.child.pid, 'SIGKILL');
      } catch {
        // It has just ended by itself.
      }
    }
    await this.exited;
  }

  private send(message: unknown): void {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  private receive(line: string): void {
    const message: unknown = JSON.parse(line);
    const reply = replySchema.safeParse(message);
    if (reply.success) {
      this.replies.get(reply.data.id)?.(reply.data);
      this.replies.delete(reply.data.id);
      return;
    }
    const notification = notificationSchema.safeParse(message);
    if (!notification.success) return;
    this.notifications.push(notification.data);
    for (const wake of this.waiting) wake();
  }
}

function textInput(text: string): unknown[] {
  return [{ type: 'text', text, text_elements: [] }];
}

function configToml(serverUrl: string, streamIdleTimeoutMs: number): string {
  return `model = "scripted-1"
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[history]
persistence = "none"
[features]
shell_snapshot = false
[shell_environment_policy]
inherit = "core"
[model_providers.scripted]
name = "scripted"
base_url = "${serverUrl}/v1"
wire_api = "responses"
env_key = "AGENTRUN_PROVIDER_KEY"
request_max_retries = 1
stream_max_retries = 2
stream_idle_timeout_ms = ${streamIdleTimeoutMs}
`;
}
