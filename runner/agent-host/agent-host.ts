import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { ProcessIdentity } from '../../infra/processes/process-identity.js';
import { LineSplitter } from '../line-splitter.js';
import { HostedProcess } from './child-process.js';
import type { MemoryKills } from './memory-kills.js';
import {
  type AgentHostMessage,
  decodeMessage,
  encodeMessage,
  maxProtocolLineBytes,
  type SupervisorMessage,
  supervisorMessageSchema,
} from './protocol.js';
import { workspaceDiff } from './workspace-diff.js';

const maxProcesses = 64;
const killGraceMs = 2_000;

export interface AgentHostOptions {
  readonly socketPath: string;
  /** Variables that every child gets. */
  readonly childBase: Readonly<Record<string, string>>;
  /** How long to wait for the one supervisor before giving up. */
  readonly connectTimeoutMs: number;
  readonly memoryKills: Pick<MemoryKills, 'watch' | 'stop' | 'isRecent'>;
  /** Called whenever the set of living children changes, with the leaders of their groups. */
  readonly onChildren: (children: readonly ProcessIdentity[]) => void;
  readonly log: (message: string, fields?: Record<string, unknown>) => void;
}

/**
 * Starts and bridges the agent's processes on behalf of one supervisor (architecture.md 7). Accepts exactly one
 * connection in its life; when that closes, or none comes in time, everything it started is ended.
 */
export class AgentHost {
  readonly #options: AgentHostOptions;
  readonly #server: Server;
  readonly #processes = new Map<string, HostedProcess>();
  #socket: Socket | undefined;
  #finish: () => void = () => undefined;
  readonly #finished = new Promise<void>((resolve) => {
    this.#finish = resolve;
  });

  constructor(options: AgentHostOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Listens, serves its supervisor, and resolves when everything has been ended. */
  async run(): Promise<void> {
    await this.#listen();
    const timer = setTimeout(() => {
      this.#options.log('no supervisor connected in time');
      this.#finish();
    }, this.#options.connectTimeoutMs);
    this.#server.once('connection', () => clearTimeout(timer));
    await this.#finished;
    clearTimeout(timer);
    await this.#end();
  }

  /** Ends everything: as if the supervisor had gone away. */
  stop(): void {
    this.#finish();
  }

  #listen(): Promise<void> {
    rmSync(this.#options.socketPath, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      // The socket must never be open to others, not even between creation and chmod.
      const previous = process.umask(0o177);
      this.#server.listen(this.#options.socketPath, () => {
        process.umask(previous);
        chmodSync(this.#options.socketPath, 0o600);
        this.#server.removeListener('error', reject);
        this.#server.on('error', (error) => this.#options.log('socket error', { error: error.message }));
        resolve();
      });
    });
  }

  #accept(socket: Socket): void {
    if (this.#socket !== undefined) {
      this.#options.log('refused a second connection');
      socket.destroy();
      return;
    }
    this.#socket = socket;
    const lines = new LineSplitter({
      maxLineBytes: maxProtocolLineBytes,
      onLine: (line) => this.#receive(line),
      onOversized: (bytes) => this.#options.log('dropped an oversized message', { bytes }),
    });
    socket.on('data', (chunk: Buffer) => lines.feed(chunk));
    socket.on('drain', () => this.#eachProcess((one) => one.resumeOutput()));
    socket.on('error', (error) => this.#options.log('connection error', { error: error.message }));
    socket.on('close', () => this.#finish());
  }

  #receive(line: string): void {
    const message = decodeMessage(supervisorMessageSchema, line);
    if (message === undefined) {
      this.#options.log('dropped a message that is none of the protocol');
      return;
    }
    switch (message.type) {
      case 'spawn':
        this.#spawn(message);
        return;
      case 'stdin':
        this.#processes.get(message.processId)?.write(Buffer.from(message.data, 'base64'));
        return;
      case 'closeStdin':
        this.#processes.get(message.processId)?.closeStdin();
        return;
      case 'signal':
        this.#processes.get(message.processId)?.signal(message.signal);
        return;
      case 'diff':
        void this.#diff(message.requestId, message.directory);
        return;
    }
  }

  #spawn(command: Extract<SupervisorMessage, { type: 'spawn' }>): void {
    const { processId } = command;
    if (this.#processes.has(processId) || this.#processes.size >= maxProcesses) {
      this.#send({
        type: 'spawnError',
        processId,
        message: 'the process id is taken or there are too many',
      });
      return;
    }
    // Before the child can be killed.
    const { memoryKills } = this.#options;
    memoryKills.watch();
    const hosted = new HostedProcess(
      { ...command, env: { ...this.#options.childBase, ...command.env } },
      {
        onSpawned: (pid) => {
          this.#reportChildren();
          this.#send({ type: 'spawned', processId, pid });
        },
        onSpawnError: (message) => {
          this.#processes.delete(processId);
          this.#send({ type: 'spawnError', processId, message });
        },
        onOutput: (type, chunk) => this.#send({ type, processId, data: chunk.toString('base64') }),
        onExit: (code, signal, byUs) => {
          const outOfMemory = signal === 'SIGKILL' && !byUs && memoryKills.isRecent;
          // A group that outlives its leader is still ours to end.
          if (!hosted.groupAlive) this.#processes.delete(processId);
          this.#reportChildren();
          this.#send({ type: 'exit', processId, code, signal, outOfMemory });
        },
      },
    );
    this.#processes.set(processId, hosted);
  }

  async #diff(requestId: string, directory: string): Promise<void> {
    const result = await workspaceDiff(directory, this.#options.childBase).catch((error: unknown) => ({
      diff: null,
      truncated: false,
      error: error instanceof Error ? error.message : String(error),
    }));
    this.#send({ type: 'diffResult', requestId, ...result });
  }

  #send(message: AgentHostMessage): void {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed || !socket.writable) return;
    if (!socket.write(encodeMessage(message))) this.#eachProcess((one) => one.pauseOutput());
  }

  #eachProcess(act: (hosted: HostedProcess) => void): void {
    for (const hosted of this.#processes.values()) act(hosted);
  }

  #reportChildren(): void {
    const leaders = [...this.#processes.values()].map((one) => one.identity);
    this.#options.onChildren(leaders.filter((identity) => identity !== undefined));
  }

  async #end(): Promise<void> {
    this.#socket?.destroy();
    this.#server.close();
    await Promise.all([...this.#processes.values()].map((one) => one.end(killGraceMs)));
    this.#processes.clear();
    this.#options.memoryKills.stop();
    this.#reportChildren();
    rmSync(this.#options.socketPath, { force: true });
  }
}
