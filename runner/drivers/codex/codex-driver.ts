import { errorLine, pause } from '../../../client/index.js';
import type { CommandPayload } from '../../../contract/commands.js';
import type { ProducedEvent } from '../../../contract/events.js';
import type { DriverCapabilities } from '../../../contract/runners.js';
import type { AgentProcess, ProcessExit } from '../agent-processes.js';
import { tail } from '../bounded-text.js';
import type { AgentDriver, DriverContext, OpenedThread, SteerAnswer } from '../driver.js';
import { codexBinary } from './codex-binary.js';
import { codexConfig, codexHome, providerKeyVariable, writeCodexConfig } from './codex-config.js';
import { codexEvents } from './codex-events.js';
import { codexInput } from './codex-input.js';
import {
  errorNotificationSchema,
  threadAnswerSchema,
  threadReadAnswerSchema,
  threadStatusSchema,
  tokenUsageNotificationSchema,
  turnCompletedSchema,
  turnDiffSchema,
  turnStartAnswerSchema,
  turnStartedSchema,
} from './codex-protocol.js';
import { answerServerRequest } from './codex-requests.js';
import { type ActiveTurn, errorEvent, failedTurn, newTurn, turnEndOf } from './codex-turn.js';
import { CodexUsage } from './codex-usage.js';
import { JsonRpcConnection, JsonRpcError } from './json-rpc.js';

const requestTimeoutMs = 30_000;
/** `idle` comes 1 ms before turn/completed; this much later it is not coming any more (agents.md 2.1). */
const idleGraceMs = 3_000;
const maxStderrBytes = 2_048;
const writerLockAttempts = 10;

export const codexCapabilities: DriverCapabilities = {
  steer: true,
  interrupt: true,
  resume: 'noReplay',
  approvals: false,
  usage: 'total',
  messageIds: true,
  diff: true,
};

/** Drives `codex app-server` over stdio (agents.md 2.1). One process for the runner's life, one thread, turn after turn. */
export class CodexDriver implements AgentDriver {
  readonly capabilities = codexCapabilities;
  readonly #context: DriverContext;
  readonly #rpc: JsonRpcConnection;
  readonly #usage = new CodexUsage();
  #process: AgentProcess | undefined;
  #exit: ProcessExit | undefined;
  #onExit: () => void = () => undefined;
  readonly #exited = new Promise<void>((resolve) => {
    this.#onExit = resolve;
  });
  #stderr = '';
  #threadId: string | undefined;
  #turn: ActiveTurn | undefined;

  constructor(context: DriverContext) {
    this.#context = context;
    this.#rpc = new JsonRpcConnection({
      write: (line) => this.#process?.write(line),
      log: context.log,
      onNotification: (method, params) => this.#notified(method, params),
      onRequest: (method) => {
        const { answer, event } = answerServerRequest(method);
        context.log.warn({ method }, 'refused a request of the agent');
        this.#emit(event);
        return answer;
      },
    });
  }

  get alive(): boolean {
    return this.#process !== undefined && this.#exit === undefined;
  }

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
      onExit: (exit) => this.#processExited(exit),
    });
    await this.#request('initialize', {
      clientInfo: { name: 'agentrun', title: null, version: '0.1.0' },
      capabilities: {
        // backgroundTerminals/clean is experimental.
        experimentalApi: true,
        requestAttestation: false,
        // Nobody is shown deltas yet; as signs of life the proxy's chunks stand for them.
        optOutNotificationMethods: [
          'item/agentMessage/delta',
          'item/reasoning/summaryTextDelta',
          'item/reasoning/summaryPartAdded',
          'item/reasoning/textDelta',
        ],
      },
    });
    this.#rpc.notify('initialized');
  }

  async openThread({ threadId }: Parameters<AgentDriver['openThread']>[0]): Promise<OpenedThread> {
    if (threadId !== null && threadId === this.#threadId) return { threadId, resumed: true, history: null };
    const settings = {
      cwd: this.#context.workspaceDirectory,
      approvalPolicy: 'never',
      sandbox: 'danger-full-access',
    };
    if (threadId !== null) {
      const resumed = await this.#resume(threadId, settings);
      if (resumed) return { threadId, resumed: true, history: null };
      this.#emit({ type: 'backend_status', payload: { phase: 'thread-lost', threadId } });
    }
    const started = threadAnswerSchema.parse(await this.#request('thread/start', settings));
    this.#threadId = started.thread.id;
    return { threadId: started.thread.id, resumed: false, history: null };
  }

  async compact(): Promise<void> {}

  async answer(): Promise<void> {}

  async prompt(messageId: string, payload: CommandPayload): Promise<{ turnId: string }> {
    const threadId = this.#threadId;
    if (threadId === undefined || this.#turn !== undefined)
      throw new Error('a prompt needs an open thread and no active turn');
    const turn = newTurn();
    this.#turn = turn;
    this.#usage.beginTurn();
    try {
      const answer = await this.#request('turn/start', {
        threadId,
        clientUserMessageId: messageId,
        input: codexInput(payload),
        ...(payload.model === undefined ? {} : { model: payload.model }),
        ...(payload.effort === undefined ? {} : { effort: payload.effort }),
        ...(payload.outputSchema === undefined ? {} : { outputSchema: payload.outputSchema }),
      });
      turn.id = turnStartAnswerSchema.parse(answer).turn.id;
      return { turnId: turn.id };
    } catch (error) {
      if (this.#turn === turn) this.#turn = undefined;
      throw error;
    }
  }

  async steer(messageId: string, payload: CommandPayload): Promise<SteerAnswer> {
    const turnId = this.#turn?.id ?? null;
    if (turnId === null || this.#threadId === undefined) return { answer: 'noActiveTurn' };
    try {
      await this.#request('turn/steer', {
        threadId: this.#threadId,
        expectedTurnId: turnId,
        clientUserMessageId: messageId,
        input: codexInput(payload),
      });
      return { answer: 'accepted' };
    } catch (error) {
      return steerRefusal(error);
    }
  }

  async interrupt(): Promise<void> {
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      const turn = this.#turn;
      if (turn === undefined || !this.alive) return;
      if (turn.id !== null) {
        try {
          await this.#request('turn/interrupt', { threadId: this.#threadId, turnId: turn.id });
          return;
        } catch (error) {
          // Between turn/start's answer and the turn's own start there is nothing to interrupt yet.
          this.#context.log.warn({ attempt, ...errorLine(error) }, 'interrupt refused');
        }
      }
      await pause(100 + Math.random() * 50);
    }
  }

  async cleanUp(): Promise<void> {
    if (!this.alive || this.#threadId === undefined) return;
    await this.#request('thread/backgroundTerminals/clean', { threadId: this.#threadId }).catch(
      (error: unknown) => {
        this.#context.log.warn(errorLine(error), 'background terminals were not cleaned');
      },
    );
  }

  kill(): void {
    this.#process?.signal('SIGKILL');
  }

  async close(): Promise<void> {
    const agent = this.#process;
    if (agent === undefined) return;
    agent.closeStdin();
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await Promise.race([this.#exited, pause(1_000)]);
      if (!this.alive) return;
      agent.signal(signal);
    }
    await Promise.race([this.#exited, pause(1_000)]);
  }

  /** Answers false when the conversation is lost. A lock of a process that is just ending is waited for. */
  async #resume(threadId: string, settings: Record<string, unknown>): Promise<boolean> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await this.#request('thread/resume', { threadId, excludeTurns: true, ...settings });
        this.#threadId = threadAnswerSchema.parse(answer).thread.id;
        return true;
      } catch (error) {
        if (!(error instanceof JsonRpcError)) throw error;
        this.#context.log.warn({ attempt, ...errorLine(error) }, 'the thread was not resumed');
        if (/no rollout found/i.test(error.message)) return false;
        if (!/active writer/i.test(error.message) || attempt >= writerLockAttempts) throw error;
        await pause(300 + Math.random() * 400);
      }
    }
  }

  #request(method: string, params: unknown): Promise<unknown> {
    return this.#rpc.request(method, params, requestTimeoutMs);
  }

  #emit(event: ProducedEvent): void {
    this.#context.listener.onEvent(event);
  }

  #notified(method: string, params: unknown): void {
    this.#context.listener.onActivity();
    switch (method) {
      case 'thread/tokenUsage/updated':
        this.#tokenUsage(params);
        return;
      case 'turn/started':
        this.#turnStarted(params);
        return;
      case 'turn/completed':
        this.#turnCompleted(params);
        return;
      case 'turn/diff/updated':
        this.#turnDiff(params);
        return;
      case 'thread/status/changed':
        this.#threadStatus(params);
        return;
      case 'error':
        this.#error(params);
        return;
      default:
        if (!this.#isOurs(params)) return;
        for (const event of codexEvents(method, params, this.#context.workspaceDirectory)) this.#emit(event);
    }
  }

  /** Subagents are threads of their own; their items are activity, not part of this transcript. */
  #isOurs(params: unknown): boolean {
    if (typeof params !== 'object' || params === null || !('threadId' in params)) return true;
    return params.threadId === null || this.#threadId === undefined || params.threadId === this.#threadId;
  }

  #tokenUsage(params: unknown): void {
    const update = tokenUsageNotificationSchema.safeParse(params).data;
    if (update === undefined || !this.#isOurs(update)) return;
    const { total } = update.tokenUsage;
    if (this.#turn?.id == null || update.turnId !== this.#turn.id) {
      this.#usage.replay(total);
      return;
    }
    this.#emit({ type: 'usage', payload: { source: 'agent', ...this.#usage.update(total) } });
  }

  #turnStarted(params: unknown): void {
    const started = turnStartedSchema.safeParse(params).data;
    if (started !== undefined && this.#isOurs(started) && this.#turn?.id === null)
      this.#turn.id = started.turn.id;
  }

  #turnCompleted(params: unknown): void {
    const completed = turnCompletedSchema.safeParse(params).data;
    const turn = this.#turn;
    if (completed === undefined || turn === undefined || !this.#isOurs(completed)) return;
    if (turn.id !== null && completed.turn.id !== turn.id) return;
    this.#finish(turn, turnEndOf(completed.turn, turn.error, this.#context.lastObservation()));
  }

  #turnDiff(params: unknown): void {
    const update = turnDiffSchema.safeParse(params).data;
    if (update !== undefined && this.#turn !== undefined && this.#isOurs(update))
      this.#turn.diff = update.diff;
  }

  #error(params: unknown): void {
    const notification = errorNotificationSchema.safeParse(params).data;
    if (notification === undefined || !this.#isOurs(notification)) return;
    if (this.#turn !== undefined && !notification.willRetry) this.#turn.error = notification.error;
    this.#emit(errorEvent(notification.error, notification.willRetry, this.#context.lastObservation()));
  }

  #threadStatus(params: unknown): void {
    const changed = threadStatusSchema.safeParse(params).data;
    const turn = this.#turn;
    if (changed === undefined || turn === undefined || !this.#isOurs(changed)) return;
    clearTimeout(turn.idleTimer);
    turn.idleTimer = undefined;
    // A turn that has no id yet has not begun: the idle status is of the one before.
    if (turn.id === null || !['idle', 'systemError'].includes(changed.status.type)) return;
    turn.idleTimer = setTimeout(() => void this.#settleFromHistory(turn), idleGraceMs);
  }

  /** The thread is idle and no turn/completed came: what the history says is how the turn ended. */
  async #settleFromHistory(turn: ActiveTurn): Promise<void> {
    const params = { threadId: this.#threadId, includeTurns: true };
    const answer = await this.#request('thread/read', params).catch((error: unknown) => {
      this.#context.log.warn(errorLine(error), 'the history of the turn cannot be read');
      return undefined;
    });
    if (this.#turn !== turn) return;
    const history = threadReadAnswerSchema.safeParse(answer).data;
    const recorded = history?.thread.turns.find((one) => one.id === turn.id);
    const end =
      recorded === undefined
        ? failedTurn('agent-error', 'the agent went idle without ending its turn', turn.id)
        : turnEndOf(recorded, turn.error, this.#context.lastObservation());
    this.#finish(turn, end);
  }

  #finish(turn: ActiveTurn, end: ReturnType<typeof turnEndOf>): void {
    clearTimeout(turn.idleTimer);
    this.#turn = undefined;
    if (turn.diff !== null && turn.diff !== '')
      this.#emit({ type: 'diff', payload: { diff: turn.diff, source: 'agent' } });
    this.#context.listener.onTurnEnd(end);
  }

  #processExited(exit: ProcessExit): void {
    this.#exit = exit;
    const how =
      exit.error ??
      `exit code ${exit.code ?? 'none'}${exit.signal === null ? '' : `, signal ${exit.signal}`}`;
    const lastWords = this.#stderr.trim();
    const reason = `the agent process ended (${how})${lastWords === '' ? '' : `: ${lastWords}`}`;
    this.#context.log.warn(
      { code: exit.code, signal: exit.signal, error: exit.error },
      'agent process ended',
    );
    const turn = this.#turn;
    this.#threadId = undefined;
    // A prompt that is still unanswered fails by itself; the turn's end is told once.
    if (turn !== undefined && turn.id !== null)
      this.#finish(turn, failedTurn('agent-error', reason, turn.id));
    this.#rpc.close(reason);
    this.#onExit();
  }
}

function steerRefusal(error: unknown): SteerAnswer {
  if (!(error instanceof JsonRpcError)) return { answer: 'noActiveTurn' };
  const data = JSON.stringify(error.data ?? null);
  if (/activeTurnNotSteerable/i.test(data) || /not steerable|cannot steer/i.test(error.message))
    return { answer: 'notSteerable' };
  if (/no active turn|expected active turn/i.test(error.message)) return { answer: 'noActiveTurn' };
  return { answer: 'rejected', reason: error.message.slice(0, 500) };
}
