import { randomUUID } from 'node:crypto';
import { pause } from '../../../client/index.js';
import { backendCapabilities } from '../../../contract/backends.js';
import { type CommandPayload, payloadText } from '../../../contract/commands.js';
import { type AgentProcess, exitFailureKind, exitWords, type ProcessExit } from '../agent-processes.js';
import { maxOutputBytes, tail } from '../bounded-text.js';
import type { AgentDriver, DriverContext, OpenedThread, SteerAnswer } from '../driver.js';

const killGraceMs = 2_000;
/** How much of the output becomes the turn's message. */
const maxMessageBytes = 8 * 1024;

interface RunningCommand {
  readonly turnId: string;
  readonly itemId: string;
  readonly command: string;
  readonly startedAt: number;
  readonly process: AgentProcess;
  interrupted: boolean;
  output: Buffer[];
  outputBytes: number;
}

/** Runs the prompt of a turn as a shell command in the workspace: the second driver, and the simplest possible agent. */
export class CommandDriver implements AgentDriver {
  readonly capabilities = backendCapabilities.command;
  readonly #context: DriverContext;
  #started = false;
  #threadId: string | undefined;
  #running: RunningCommand | undefined;
  #onIdle: (() => void) | undefined;

  constructor(context: DriverContext) {
    this.#context = context;
  }

  get alive(): boolean {
    return this.#started;
  }

  start(): Promise<void> {
    this.#started = true;
    return Promise.resolve();
  }

  openThread({ threadId }: Parameters<AgentDriver['openThread']>[0]): Promise<OpenedThread> {
    const opened = threadId ?? this.#threadId ?? `command-${randomUUID()}`;
    this.#threadId = opened;
    return Promise.resolve({ threadId: opened, resumed: threadId !== null, history: null });
  }

  /** A command has no context. */
  compact(): Promise<void> {
    return Promise.resolve();
  }

  /** A command asks nobody. */
  answer(): Promise<void> {
    return Promise.resolve();
  }

  prompt(messageId: string, payload: CommandPayload): Promise<{ turnId: string }> {
    if (!this.#started || this.#running !== undefined) {
      return Promise.reject(new Error('a prompt needs a started driver and no active turn'));
    }
    const turnId = randomUUID();
    const command = payloadText(payload);
    const { processes, workspaceDirectory, agentHomeDirectory, listener } = this.#context;
    const keep = (chunk: Buffer): void => {
      listener.onActivity();
      this.#keepOutput(chunk);
    };
    this.#running = {
      turnId,
      itemId: `${turnId}-command`,
      command,
      startedAt: performance.now(),
      interrupted: false,
      output: [],
      outputBytes: 0,
      process: processes.spawn({
        file: '/bin/sh',
        args: ['-c', command],
        cwd: workspaceDirectory,
        env: { HOME: agentHomeDirectory },
        onStdout: keep,
        onStderr: keep,
        onExit: (exit) => this.#ended(exit),
      }),
    };
    this.#running.process.closeStdin();
    listener.onEvent({
      type: 'user_message',
      payload: { itemId: `${turnId}-prompt`, commandId: messageId, text: command },
    });
    listener.onEvent({
      type: 'command_execution',
      payload: {
        itemId: `${turnId}-command`,
        command,
        cwd: workspaceDirectory,
        status: 'inProgress',
        exitCode: null,
        output: null,
        durationMs: null,
      },
    });
    return Promise.resolve({ turnId });
  }

  steer(): Promise<SteerAnswer> {
    return Promise.resolve({ answer: this.#running === undefined ? 'noActiveTurn' : 'notSteerable' });
  }

  async interrupt(): Promise<boolean> {
    const running = this.#running;
    if (running === undefined) return true;
    running.interrupted = true;
    await this.#terminate(running);
    return this.#running !== running;
  }

  /** Nothing to do between turns: what is left of a turn's process group goes with `interrupt`. */
  cleanUp(): Promise<boolean> {
    return Promise.resolve(this.#running === undefined);
  }

  kill(): void {
    this.#running?.process.signal('SIGKILL');
  }

  async close(): Promise<void> {
    if (this.#running !== undefined) await this.#terminate(this.#running);
    this.#started = false;
  }

  /** TERM, a grace, KILL. */
  async #terminate(running: RunningCommand): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      if (this.#running !== running) return;
      running.process.signal(signal);
      await Promise.race([idle, pause(killGraceMs)]);
    }
  }

  /** Keeps the end of the output: whole chunks are dropped at the front as soon as the rest is enough. */
  #keepOutput(chunk: Buffer): void {
    const running = this.#running;
    if (running === undefined) return;
    running.output.push(chunk);
    running.outputBytes += chunk.length;
    for (let first = running.output[0]; first !== undefined; first = running.output[0]) {
      if (running.outputBytes - first.length < maxOutputBytes) break;
      running.outputBytes -= first.length;
      running.output.shift();
    }
  }

  #ended(exit: ProcessExit): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    const { listener, workspaceDirectory } = this.#context;
    const output = tail(Buffer.concat(running.output).toString('utf8'), maxOutputBytes).text;
    const succeeded = exit.code === 0;
    listener.onEvent({
      type: 'command_execution',
      payload: {
        itemId: running.itemId,
        command: running.command,
        cwd: workspaceDirectory,
        status: succeeded ? 'completed' : 'failed',
        exitCode: exit.code,
        output,
        durationMs: Math.round(performance.now() - running.startedAt),
      },
    });
    const message = tail(output.trim(), maxMessageBytes).text;
    if (message !== '') {
      listener.onEvent({
        type: 'agent_message',
        payload: { itemId: `${running.turnId}-message`, text: message },
      });
    }
    const short = exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`;
    const how = exit.error !== null || exit.outOfMemory ? exitWords(exit) : short;
    listener.onTurnEnd({
      status: running.interrupted ? 'interrupted' : succeeded ? 'completed' : 'failed',
      failureKind: running.interrupted || succeeded ? null : exitFailureKind(exit),
      message: succeeded ? null : how,
      turnId: running.turnId,
    });
    this.#onIdle?.();
  }
}
