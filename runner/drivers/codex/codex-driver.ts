import { errorLine, pause } from '../../../client/index.js';
import type { AgentRequestResolution } from '../../../contract/agent-requests.js';
import { backendCapabilities } from '../../../contract/backends.js';
import type { CommandPayload } from '../../../contract/commands.js';
import type { ProducedEvent } from '../../../contract/events.js';
import type { ApprovalPolicy } from '../../../contract/execution-policy.js';
import type { AgentEndedError } from '../agent-processes.js';
import type { AgentDriver, DriverContext, OpenedThread, SteerAnswer, TurnEnd } from '../driver.js';
import { findTurn, readThreadHistory } from './codex-history.js';
import { codexInput } from './codex-input.js';
import { CodexNotifications } from './codex-notifications.js';
import { threadPolicy, turnPolicy } from './codex-policies.js';
import { CodexProcess } from './codex-process.js';
import { threadAnswerSchema, turnStartAnswerSchema } from './codex-protocol.js';
import {
  type ActiveTurn,
  changeKey,
  failedTurn,
  idleWithoutEnd,
  newTurn,
  recordedEnd,
} from './codex-turn.js';
import { CodexUsage } from './codex-usage.js';
import { Compaction } from './compaction.js';
import { JsonRpcError, type ServerRequest } from './json-rpc.js';
import { OpenRequests } from './open-requests.js';
import { steerRefusal } from './steer-refusal.js';
import { TurnWatchdog, type WatchdogTimings, watchdogTimings } from './turn-watchdog.js';

const writerLockAttempts = 10;
const interruptAttempts = 10;
/** The watchdog's look at the record must not take longer than its own waits. */
const recordTimeoutMs = 5_000;

/** Drives `codex app-server` over stdio (agents.md 2.1). One process for the runner's life, one thread, turn after turn. */
export class CodexDriver implements AgentDriver {
  readonly capabilities = backendCapabilities.codex;
  readonly #context: DriverContext;
  readonly #codex: CodexProcess;
  readonly #timings: WatchdogTimings;
  readonly #usage = new CodexUsage();
  readonly #request = (method: string, params: unknown) => this.#codex.request(method, params);
  readonly #requests: OpenRequests;
  #threadId: string | undefined;
  #turn: ActiveTurn | undefined;
  #compaction: Compaction | undefined;
  #policy: ApprovalPolicy = 'never';
  /** The policy that the open thread has. */
  #threadPolicy: ApprovalPolicy | undefined;

  constructor(context: DriverContext, timings: WatchdogTimings = watchdogTimings) {
    this.#context = context;
    this.#timings = timings;
    this.#requests = new OpenRequests(context, (messageId, text) => this.steer(messageId, { prompt: text }));
    const notifications = new CodexNotifications({
      context,
      usage: this.#usage,
      threadId: () => this.#threadId,
      turn: () => this.#turn,
      compaction: () => this.#compaction,
      onTurnEnd: (turn, end) => this.#finish(turn, end),
      onRequestResolved: (id) => this.#requests.resolved(id),
    });
    this.#codex = new CodexProcess(context, {
      onNotification: (method, params) => notifications.handle(method, params),
      onRequest: (request) => this.#asked(request),
      onExit: (end) => this.#processEnded(end),
    });
  }

  get alive(): boolean {
    return this.#codex.alive;
  }

  start(): Promise<void> {
    return this.#codex.start();
  }

  async openThread({
    threadId,
    approvalPolicy,
    readHistory,
  }: Parameters<AgentDriver['openThread']>[0]): Promise<OpenedThread> {
    this.#policy = approvalPolicy;
    const resumed = threadId !== null && (threadId === this.#threadId || (await this.#resume(threadId)));
    if (resumed) return { threadId, resumed, history: readHistory ? await this.#history(threadId) : null };
    if (threadId !== null)
      this.#emit({ type: 'backend_status', payload: { phase: 'thread-lost', threadId } });
    const answer = await this.#codex.request('thread/start', this.#threadSettings());
    this.#threadId = threadAnswerSchema.parse(answer).thread.id;
    this.#threadPolicy = approvalPolicy;
    return { threadId: this.#threadId, resumed: false, history: null };
  }

  async compact(): Promise<void> {
    if (this.#threadId === undefined || this.#turn !== undefined || this.#compaction !== undefined) return;
    const compaction = new Compaction(this.#request, this.#threadId);
    this.#compaction = compaction;
    const { event, over } = await compaction.run(this.#context.log);
    this.#compaction = undefined;
    if (event !== null) this.#emit(event);
    // The next prompt would be taken for a message into the turn that compacts.
    if (!over) this.#codex.kill();
  }

  async prompt(messageId: string, payload: CommandPayload): Promise<{ turnId: string }> {
    const threadId = this.#threadId;
    if (threadId === undefined || this.#turn !== undefined || this.#compaction !== undefined)
      throw new Error('a prompt needs an open thread and no active turn');
    const turn = this.#newTurn(threadId, messageId);
    this.#turn = turn;
    this.#usage.beginTurn();
    try {
      const answer = await this.#codex.request('turn/start', {
        threadId,
        clientUserMessageId: messageId,
        input: codexInput(payload),
        ...(this.#policy === this.#threadPolicy ? {} : turnPolicy(this.#policy)),
        ...(payload.model === undefined ? {} : { model: payload.model }),
        ...(payload.effort === undefined ? {} : { effort: payload.effort }),
        ...(payload.outputSchema === undefined ? {} : { outputSchema: payload.outputSchema }),
      });
      this.#threadPolicy = this.#policy;
      turn.id = turnStartAnswerSchema.parse(answer).turn.id;
    } catch (error) {
      turn.watchdog.stop();
      if (this.#turn === turn) this.#turn = undefined;
      throw error;
    }
    return { turnId: turn.id };
  }

  async steer(messageId: string, payload: CommandPayload): Promise<SteerAnswer> {
    const turnId = this.#turn?.id ?? null;
    if (turnId === null || this.#threadId === undefined) return { answer: 'noActiveTurn' };
    try {
      await this.#codex.request('turn/steer', {
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

  answer(requestId: string, resolution: AgentRequestResolution): Promise<void> {
    return this.#requests.answer(requestId, resolution);
  }

  async interrupt(): Promise<boolean> {
    if (this.#turn !== undefined) return this.#interrupt(this.#turn, 'caller');
    return (await this.#compaction?.interrupt(this.#context.log)) ?? true;
  }

  async cleanUp(): Promise<boolean> {
    // What a process left behind that has ended by itself, nobody knows.
    if (!this.alive) return false;
    if (this.#threadId === undefined) return true;
    try {
      await this.#codex.request('thread/backgroundTerminals/clean', { threadId: this.#threadId });
      return true;
    } catch (error) {
      this.#context.log.warn(errorLine(error), 'background terminals were not cleaned');
      return false;
    }
  }

  kill(): void {
    this.#codex.kill();
  }

  close(): Promise<void> {
    return this.#codex.close();
  }

  /** Answers false when the conversation is lost. A lock of a process that is just ending is waited for. */
  async #resume(threadId: string): Promise<boolean> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const params = { threadId, excludeTurns: true, ...this.#threadSettings() };
        const answer = await this.#codex.request('thread/resume', params);
        this.#threadId = threadAnswerSchema.parse(answer).thread.id;
        this.#threadPolicy = this.#policy;
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

  #threadSettings(): Record<string, unknown> {
    return { cwd: this.#context.workspaceDirectory, ...threadPolicy(this.#policy) };
  }

  async #history(threadId: string): Promise<OpenedThread['history']> {
    const { workspaceDirectory } = this.#context;
    const read = await readThreadHistory(this.#request, threadId, workspaceDirectory);
    const { history, items } = read;
    if (history.truncated) {
      const payload = { phase: 'thread-history-truncated', items, known: history.messageIds !== null };
      this.#emit({ type: 'backend_status', payload });
    }
    return history;
  }

  #newTurn(threadId: string, messageId: string): ActiveTurn {
    const turn: ActiveTurn = newTurn(
      messageId,
      new TurnWatchdog({
        timings: this.#timings,
        log: this.#context.log,
        read: () =>
          findTurn(
            (method, params) => this.#codex.request(method, params, recordTimeoutMs),
            threadId,
            turn.id ?? '',
          ),
        interrupt: () => this.#interrupt(turn, 'watchdog'),
        onRecorded: (recorded) =>
          this.#finish(turn, recordedEnd(turn, recorded, this.#context.lastObservation())),
        onGivenUp: () => {
          // What the agent does now is unknown, and the next prompt would be taken into the turn that has no end.
          this.#codex.kill();
          this.#finish(turn, recordedEnd(turn, { id: turn.id ?? '', status: 'interrupted' }, null));
        },
      }),
      this.#context.lastObservation(),
    );
    return turn;
  }

  /** Repeats until the agent has taken it, and answers whether it did: right after `turn/start` there is nothing to interrupt yet; its answer is waited for. */
  async #interrupt(turn: ActiveTurn, by: 'caller' | 'watchdog'): Promise<boolean> {
    if (turn.interruptedBy !== 'caller') turn.interruptedBy = by;
    for (let attempt = 1; attempt <= interruptAttempts; ) {
      if (this.#turn !== turn || turn.interruptAccepted) return true;
      if (!this.alive) return false;
      if (turn.id !== null) {
        try {
          await this.#codex.request('turn/interrupt', { threadId: this.#threadId, turnId: turn.id });
          turn.interruptAccepted = true;
          turn.watchdog.interrupted();
          return true;
        } catch (error) {
          this.#context.log.warn({ attempt, ...errorLine(error) }, 'interrupt refused');
          attempt += 1;
        }
      }
      await pause(100 + Math.random() * 50);
    }
    return this.#turn !== turn || turn.interruptAccepted;
  }

  #asked(rpc: ServerRequest): void {
    const turn = this.#turn;
    const never = this.#policy === 'never' ? 'the approval policy of this run is never to ask' : null;
    const noChannel = turn === undefined ? 'no turn is active' : never;
    this.#requests.asked(
      rpc,
      (threadId, itemId) => turn?.changes.get(changeKey(threadId, itemId)) ?? [],
      noChannel,
    );
  }

  #emit(event: ProducedEvent): void {
    this.#context.listener.onEvent(event);
  }

  #finish(turn: ActiveTurn, ended: TurnEnd): void {
    if (this.#turn !== turn) return;
    turn.watchdog.stop();
    this.#turn = undefined;
    if (turn.diff !== null && turn.diff !== '')
      this.#emit({ type: 'diff', payload: { diff: turn.diff, source: 'agent' } });
    this.#requests.closeAll();
    const byWatchdog = ended.status === 'interrupted' && turn.interruptedBy === 'watchdog';
    const end = byWatchdog
      ? failedTurn('agent-error', `${idleWithoutEnd}; it was interrupted`, ended.turnId)
      : ended;
    this.#context.listener.onTurnEnd(end);
  }

  #processEnded({ failureKind, message }: AgentEndedError): void {
    const turn = this.#turn;
    this.#threadId = undefined;
    this.#threadPolicy = undefined;
    this.#compaction?.lost();
    this.#requests.closeAll();
    // A prompt that is still unanswered fails by itself; the turn's end is told once.
    if (turn !== undefined && turn.id !== null) this.#finish(turn, failedTurn(failureKind, message, turn.id));
  }
}
