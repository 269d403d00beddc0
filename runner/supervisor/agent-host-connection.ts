import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { pause } from '../../client/index.js';
import {
  type AgentHostMessage,
  agentHostMessageSchema,
  decodeMessage,
  encodeMessage,
  type GroupSignal,
  maxProtocolLineBytes,
  type SupervisorMessage,
} from '../agent-host/protocol.js';
import type { AgentProcess, AgentProcesses, ProcessExit, SpawnRequest } from '../drivers/agent-processes.js';
import type { DriverLog } from '../drivers/driver.js';
import { LineSplitter } from '../line-splitter.js';

/** agent-host bounds a diff itself to 10 s. */
const diffTimeoutMs = 11_000;

export interface DiffResult {
  readonly diff: string | null;
  readonly truncated: boolean;
  readonly error: string | null;
}

/**
 * The supervisor's end of the socket to agent-host. When the connection is lost every process ends with an error, and
 * `onLost` is called once.
 */
export class AgentHostConnection implements AgentProcesses {
  readonly #socket: Socket;
  readonly #log: DriverLog;
  readonly #running = new Map<string, SpawnRequest>();
  readonly #diffs = new Map<string, (result: DiffResult) => void>();
  #closed = false;
  #onLost: () => void = () => undefined;

  private constructor(socket: Socket, log: DriverLog) {
    this.#socket = socket;
    this.#log = log;
    const lines = new LineSplitter({
      maxLineBytes: maxProtocolLineBytes,
      onLine: (line) => this.#receive(line),
      onOversized: (bytes) => log.warn({ bytes }, 'agent-host sent an oversized message'),
    });
    socket.on('data', (chunk: Buffer) => lines.feed(chunk));
    socket.on('error', (error) => log.warn({ error: error.message }, 'connection to agent-host failed'));
    socket.on('close', () => this.#lost());
  }

  /**
   * Connects, trying again every 20 ms until `timeoutMs`: agent-host starts at the same time as the supervisor.
   *
   * @throws Error when nothing listens in time.
   */
  static async open(socketPath: string, timeoutMs: number, log: DriverLog): Promise<AgentHostConnection> {
    const deadline = Date.now() + timeoutMs;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return new AgentHostConnection(await connectOnce(socketPath), log);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (Date.now() >= deadline)
          throw new Error(`agent-host cannot be reached: ${message}`, { cause: error });
        // Early attempts are expected to fail; one line a second is enough.
        if (attempt % 50 === 0) log.warn({ attempt, error: message }, 'waiting for agent-host');
        await pause(15 + Math.random() * 10);
      }
    }
  }

  onLost(callback: () => void): void {
    this.#onLost = callback;
    if (this.#closed) callback();
  }

  spawn(request: SpawnRequest): AgentProcess {
    const processId = randomUUID();
    const running = this.#running;
    const send = (message: SupervisorMessage): void => this.#send(message);
    running.set(processId, request);
    send({
      type: 'spawn',
      processId,
      file: request.file,
      args: [...request.args],
      cwd: request.cwd,
      env: { ...request.env },
    });
    if (this.#closed) queueMicrotask(() => this.#exit(processId, ended('agent-host is gone')));
    return {
      write: (data) => {
        if (running.has(processId))
          send({ type: 'stdin', processId, data: Buffer.from(data).toString('base64') });
      },
      closeStdin: () => send({ type: 'closeStdin', processId }),
      signal: (signal: GroupSignal) => send({ type: 'signal', processId, signal }),
      get exited() {
        return !running.has(processId);
      },
    };
  }

  /** The uncommitted changes of a working tree, computed by agent-host: the supervisor runs no git itself. Bounded. */
  diff(directory: string): Promise<DiffResult> {
    if (this.#closed) return Promise.resolve({ diff: null, truncated: false, error: 'agent-host is gone' });
    const requestId = randomUUID();
    return new Promise((resolve) => {
      const finish = (result: DiffResult): void => {
        clearTimeout(timer);
        this.#diffs.delete(requestId);
        resolve(result);
      };
      const timer = setTimeout(
        () => finish({ diff: null, truncated: false, error: 'no answer in time' }),
        diffTimeoutMs,
      );
      this.#diffs.set(requestId, finish);
      this.#send({ type: 'diff', requestId, directory });
    });
  }

  /** Leaves: agent-host then ends every process and itself. */
  close(): void {
    this.#onLost = () => undefined;
    this.#socket.end();
    this.#socket.destroySoon();
  }

  #send(message: SupervisorMessage): void {
    if (!this.#closed && this.#socket.writable) this.#socket.write(encodeMessage(message));
  }

  #receive(line: string): void {
    const message = decodeMessage(agentHostMessageSchema, line);
    if (message === undefined) {
      this.#log.warn({}, 'agent-host sent what is no message');
      return;
    }
    this.#dispatch(message);
  }

  #dispatch(message: AgentHostMessage): void {
    switch (message.type) {
      case 'spawned':
        this.#log.info({ agentPid: message.pid }, 'agent process started');
        return;
      case 'stdout':
        this.#running.get(message.processId)?.onStdout(Buffer.from(message.data, 'base64'));
        return;
      case 'stderr':
        this.#running.get(message.processId)?.onStderr(Buffer.from(message.data, 'base64'));
        return;
      case 'exit':
        this.#exit(message.processId, {
          code: message.code,
          signal: message.signal,
          error: null,
          outOfMemory: message.outOfMemory,
        });
        return;
      case 'spawnError':
        this.#exit(message.processId, ended(message.message));
        return;
      case 'diffResult':
        this.#diffs.get(message.requestId)?.({
          diff: message.diff,
          truncated: message.truncated,
          error: message.error,
        });
    }
  }

  #exit(processId: string, exit: ProcessExit): void {
    const request = this.#running.get(processId);
    if (request === undefined) return;
    this.#running.delete(processId);
    request.onExit(exit);
  }

  #lost(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const processId of this.#running.keys()) {
      this.#exit(processId, ended('agent-host is gone'));
    }
    for (const finish of this.#diffs.values())
      finish({ diff: null, truncated: false, error: 'agent-host is gone' });
    this.#onLost();
  }
}

/** The end of a process that was not seen to exit. */
const ended = (error: string): ProcessExit => ({ code: null, signal: null, error, outOfMemory: false });

function connectOnce(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  });
}
