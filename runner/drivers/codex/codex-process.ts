import { pause } from '../../../client/index.js';
import { AgentEndedError, type AgentProcess, type ProcessExit } from '../agent-processes.js';
import { tail } from '../bounded-text.js';
import type { DriverContext } from '../driver.js';
import { codexBinary } from './codex-binary.js';
import { codexConfig, codexHome, providerKeyVariable, writeCodexConfig } from './codex-config.js';
import { JsonRpcConnection, type ServerRequest } from './json-rpc.js';

const requestTimeoutMs = 30_000;
const maxStderrBytes = 2_048;
/** Each step of an orderly end: end of input, TERM, KILL. */
const closeStepMs = 1_000;

/** One `codex app-server` over stdio: its process and the JSON-RPC connection to it (agents.md 2.1, Starting it). */
export class CodexProcess {
  readonly #context: DriverContext;
  readonly #rpc: JsonRpcConnection;
  readonly #onExit: (end: AgentEndedError) => void;
  #process: AgentProcess | undefined;
  #exit: ProcessExit | undefined;
  #isClosing = false;
  #gone: () => void = () => undefined;
  readonly #exited = new Promise<void>((resolve) => {
    this.#gone = resolve;
  });
  #stderr = '';

  /** `onExit` is called once, with the reason, before the requests that still wait fail with it. */
  constructor(
    context: DriverContext,
    handlers: {
      readonly onNotification: (method: string, params: unknown) => void;
      readonly onRequest: (request: ServerRequest) => void;
      readonly onExit: (end: AgentEndedError) => void;
    },
  ) {
    this.#context = context;
    this.#onExit = handlers.onExit;
    this.#rpc = new JsonRpcConnection({
      write: (line) => this.#process?.write(line),
      log: context.log,
      onNotification: handlers.onNotification,
      onRequest: handlers.onRequest,
    });
  }

  get alive(): boolean {
    return this.#process !== undefined && this.#exit === undefined;
  }

  /**
   * Writes the configuration, starts the process and shakes hands.
   *
   * @throws JsonRpcConnectionError, Error of the agent's home folder
   */
  async start(): Promise<void> {
    const { provider, agentHomeDirectory, workspaceDirectory, processes } = this.#context;
    await writeCodexConfig(
      agentHomeDirectory,
      codexConfig({ model: provider.model, baseUrl: provider.baseUrl }),
    );
    this.#process = processes.spawn({
      file: codexBinary(),
      args: ['app-server', '--strict-config'],
      cwd: workspaceDirectory,
      env: {
        HOME: agentHomeDirectory,
        CODEX_HOME: codexHome(agentHomeDirectory),
        [providerKeyVariable]: provider.placeholderKey,
      },
      onStdout: (chunk) => this.#rpc.feed(chunk),
      onStderr: (chunk) => {
        this.#stderr = tail(this.#stderr + chunk.toString('utf8'), maxStderrBytes).text;
      },
      onExit: (exit) => this.#ended(exit),
    });
    await this.request('initialize', {
      clientInfo: { name: 'agentrun', title: null, version: '0.1.0' },
      capabilities: {
        // backgroundTerminals/clean is experimental.
        experimentalApi: true,
        requestAttestation: false,
        // Nobody is shown raw reasoning while it is written; as signs of life the proxy's chunks stand for it.
        optOutNotificationMethods: ['item/reasoning/textDelta'],
      },
    });
    this.#rpc.notify('initialized');
  }

  /** @throws JsonRpcError, JsonRpcConnectionError */
  request(method: string, params: unknown, timeoutMs = requestTimeoutMs): Promise<unknown> {
    return this.#rpc.request(method, params, timeoutMs);
  }

  kill(): void {
    this.#process?.signal('SIGKILL');
  }

  /** Ends the process in order: end of its input, then TERM, then KILL. */
  async close(): Promise<void> {
    const agent = this.#process;
    if (agent === undefined) return;
    this.#isClosing = true;
    agent.closeStdin();
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await Promise.race([this.#exited, pause(closeStepMs)]);
      if (!this.alive) return;
      agent.signal(signal);
    }
    await Promise.race([this.#exited, pause(closeStepMs)]);
  }

  #ended(exit: ProcessExit): void {
    this.#exit = exit;
    const end = new AgentEndedError(exit, this.#stderr.trim());
    const { log } = this.#context;
    const { code, signal, error, outOfMemory } = exit;
    const fields = { code, signal, error, outOfMemory };
    // Asked to end, it did.
    if (this.#isClosing) log.info(fields, 'agent process ended');
    else log.warn(fields, 'agent process ended');
    this.#onExit(end);
    this.#rpc.close(end.message, end);
    this.#gone();
  }
}
