import { errorLine } from '../../client/index.js';
import type { AgentRequest } from '../../contract/agent-requests.js';
import type { CommandRecord } from '../../contract/commands.js';
import type { ProducedEvent } from '../../contract/events.js';
import type { Assignment } from '../../contract/runners.js';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import { AgentEndedError } from '../drivers/agent-processes.js';
import type { AgentDriver, DriverListener, TextPiece, TurnEnd } from '../drivers/driver.js';
import type { ProviderProxy } from '../proxy/provider-proxy.js';
import { Acknowledgements } from './acknowledgements.js';
import type { AgentHostConnection } from './agent-host-connection.js';
import { AttemptLog } from './attempt-log.js';
import { reportAttempt } from './attempt-report.js';
import { BootSteps } from './boot-steps.js';
import { cancelLimits, cleanUpOrKill, endTurnByLadder, type LadderLimits } from './cancel-ladder.js';
import { CommandFeed } from './command-feed.js';
import type { DriverHost } from './driver-host.js';
import { Heartbeat, selfFenceMs } from './heartbeat.js';
import { LiveText } from './live-text.js';
import type { ManagerApi, RunApi } from './manager-api.js';
import type { ReportResult } from './outcome-report.js';
import { RequestDesk } from './request-desk.js';
import { RunTrace } from './run-trace.js';
import { SteerQueue } from './steer-queue.js';
import { stopLimits } from './stop-limits.js';
import { tellStorage } from './storage-report.js';
import { openTurn } from './turn-opening.js';
import { TurnProgress } from './turn-progress.js';

/** A heartbeat that is to bring a fresh token. */
const freshTokenMs = 10_000;
/** A fenced attempt's agent must not go on beside the next one. */
const fenceLimits: LadderLimits = { interruptMs: 1_000, cleanUpMs: 500, killMs: 3_000 };

export interface ServedRunOptions {
  readonly runnerId: string;
  readonly assignment: Assignment;
  readonly api: Pick<ManagerApi, 'run'>;
  readonly drivers: Pick<DriverHost, 'driver' | 'ready' | 'listen' | 'unlisten'>;
  readonly proxy: Pick<ProviderProxy, 'openTurn' | 'closeTurn' | 'lastObservation'>;
  readonly agentHost: Pick<AgentHostConnection, 'diff'>;
  readonly workspaceDirectory: string;
  /** The supervisor's own part of the session's volume. */
  readonly supervisorDirectory: string;
  readonly redactor: Redactor;
  readonly log: Logger;
}

/** One assignment from claim to reported outcome: wires the turn to its events, heartbeats, commands, requests and ends. */
export class ServedRun implements DriverListener {
  readonly #options: ServedRunOptions;
  readonly #assignment: Assignment;
  readonly #log: Logger;
  readonly #api: RunApi;
  readonly #attemptLog: AttemptLog;
  readonly #progress = new TurnProgress();
  readonly #trace: RunTrace;
  readonly #acknowledgements: Acknowledgements;
  readonly #heartbeat: Heartbeat;
  readonly #feed: CommandFeed;
  readonly #liveText: LiveText;
  readonly #steers: SteerQueue;
  readonly #requests: RequestDesk;
  /** Fires when nothing more can be reported: fenced, or out of grace. */
  readonly #givenUp = new AbortController();
  readonly #end: Promise<TurnEnd>;
  #settleEnd: (end: TurnEnd) => void = () => undefined;
  readonly #ladders: Promise<void>[] = [];
  #ended = false;
  #driver: AgentDriver | undefined;
  #threadId: string | null = null;
  #cancel: { readonly reason: string | null } | undefined;
  #cleanedUp = false;
  #stopping = false;
  #fencedBy: string | undefined;

  constructor(options: ServedRunOptions) {
    const { assignment, runnerId } = options;
    const policy = assignment.run.executionPolicy;
    this.#options = options;
    this.#assignment = assignment;
    this.#log = options.log.child({ runId: assignment.run.id, epoch: assignment.epoch });
    const log = this.#log;
    this.#trace = new RunTrace(assignment, runnerId);
    const api = options.api.run(assignment, this.#trace.headers);
    this.#api = api;
    this.#end = new Promise((resolve) => {
      this.#settleEnd = resolve;
    });
    const onFenced = (reason: string): void => this.#fence(reason);
    const beat = async (timeoutMs: number): Promise<number> => {
      const progress = this.#progress.report(this.#requests.waiting);
      const answer = await api.heartbeat({ runnerId, leaseMs: assignment.leaseMs, progress }, timeoutMs);
      if (answer.cancelRequested) this.#requestCancel(answer.cancelReason, answer.cancelDeadlineMs);
      this.#liveText.watched = answer.watched;
      return answer.nextHeartbeatMs;
    };
    this.#attemptLog = new AttemptLog({
      ...options,
      api,
      progress: this.#progress,
      refreshToken: async () => void (await beat(freshTokenMs)),
      onFenced,
      signal: this.#givenUp.signal,
      log,
    });
    this.#acknowledgements = new Acknowledgements({ send: (id) => api.acknowledge(id), log });
    this.#heartbeat = new Heartbeat({
      beat,
      intervalMs: assignment.heartbeatIntervalMs,
      fenceAfterMs: selfFenceMs(assignment.leaseMs, policy.partitionGraceMs),
      onFenced,
      onRecovered: (outage) =>
        this.onEvent({ type: 'backend_status', payload: { phase: 'api-unreachable', ...outage } }),
      log,
    });
    this.#liveText = new LiveText({
      send: (body, timeoutMs) => api.deltas(body, timeoutMs),
      eventsMade: () => this.#attemptLog.uploader.lastSeq,
      redactor: options.redactor,
      log,
    });
    this.#feed = new CommandFeed({
      poll: (afterSeq, signal) => api.commands(afterSeq, this.#liveText.watched, signal),
      afterSeq: Math.max(0, ...assignment.commands.map((command) => command.seq)),
      onCommand: (command) => this.#command(command),
      onCancel: (reason, deadlineMs) => this.#requestCancel(reason, deadlineMs),
      onWatched: (watched) => {
        this.#liveText.watched = watched;
      },
      onFenced,
      log,
    });
    this.#steers = new SteerQueue({
      steer: (id, payload) => this.#driver?.steer(id, payload) ?? Promise.resolve({ answer: 'noActiveTurn' }),
      stateOf: async (id, signal) => (await api.command(id, signal)).state,
      onAccepted: (id) => this.#acknowledgements.add(id),
      onRejected: (id, reason) =>
        this.onEvent({ type: 'steer_delivery', payload: { commandId: id, delivery: 'rejected', reason } }),
      log,
    });
    this.#requests = new RequestDesk({
      asks: policy.approvalPolicy !== 'never',
      timeoutMs: policy.approvalTimeoutMs,
      remember: (requestId) => this.#attemptLog.folder.rememberTold(requestId),
      answer: (requestId, resolution) =>
        this.#driver?.answer(requestId, resolution) ?? Promise.reject(new Error('there is no agent')),
      emit: (event) => this.onEvent(event),
      acknowledge: (commandId) => this.#acknowledgements.add(commandId),
      expire: (requestId, signal) => api.expire(requestId, signal),
      onFenced,
      log,
    });
  }

  /** Serves the run to its end and answers what the runner does next. */
  async serve(): Promise<ReportResult> {
    const { drivers, proxy } = this.#options;
    drivers.listen(this);
    this.#heartbeat.start();
    this.#feed.start();
    proxy.openTurn();
    let result: ReportResult | undefined;
    try {
      await Promise.race([this.#begin(), this.#end]);
      const end = await this.#end;
      this.#liveText.stop();
      this.#trace.turnEnded(end);
      proxy.closeTurn();
      this.#steers.turnEnded();
      this.#requests.stop();
      await Promise.all(this.#ladders);
      this.#progress.phase = 'finishing';
      if (this.#fencedBy !== undefined) result = 'fenced';
      else result = await this.#trace.step('report', () => this.#report(end));
      return result;
    } finally {
      this.#liveText.stop();
      proxy.closeTurn();
      this.#steers.turnEnded();
      this.#requests.stop();
      this.#feed.stop();
      this.#heartbeat.stop();
      this.#acknowledgements.stop();
      this.#givenUp.abort();
      this.#attemptLog.close();
      drivers.unlisten();
      this.#trace.end(result);
    }
  }

  /** Measures the session's volume and tells the API, which takes it until the session has another runner. Bounded, and never fails. */
  tellStorage(measuredDirectory: string): Promise<void> {
    const { sessionId } = this.#assignment.run;
    return tellStorage({ api: this.#api, sessionId, measuredDirectory, log: this.#log });
  }

  /** SIGTERM: interrupts the turn; `serve` then ends within some seconds. Requests of the agent are kept: the turn may be parked. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#requests.keep();
    this.#endTurn(stopLimits.ladder);
    setTimeout(() => this.#givenUp.abort(), stopLimits.reportMs).unref();
  }

  onEvent(event: ProducedEvent): void {
    this.#attemptLog.events.add(event);
    this.#liveText.ended(event.payload.itemId);
    const messageId = event.type === 'user_message' ? event.payload.commandId : undefined;
    if (typeof messageId === 'string') this.#steers.seen(messageId);
  }

  onText(piece: TextPiece): void {
    this.#liveText.add(piece);
  }

  onActivity(): void {
    this.#progress.activity();
  }

  /** A part of the model's answer passed the proxy. */
  onModelOutput(): void {
    this.#progress.output();
  }

  onRequest(request: AgentRequest): void {
    this.#requests.asked(request);
  }

  onRequestClosed(requestId: string): void {
    this.#requests.closed(requestId);
  }

  onTurnEnd(end: TurnEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#settleEnd(end);
  }

  /** Opens the thread and sends what is to be sent. A failure here is the turn's end. */
  async #begin(): Promise<void> {
    try {
      const boot = new BootSteps(this.#progress, this.#trace);
      this.#driver = await boot.run('starting-agent', () => this.#options.drivers.ready());
      const grants = await this.#attemptLog.unusedGrants();
      this.#requests.grant(grants);
      const end = await openTurn({
        assignment: { ...this.#assignment, grants },
        driver: this.#driver,
        folder: this.#attemptLog.folder,
        events: this.#attemptLog.events,
        progress: this.#progress,
        boot,
        acknowledgements: this.#acknowledgements,
        steers: this.#steers,
        onThread: (threadId) => {
          this.#threadId = threadId;
        },
        unwanted: () =>
          this.#ended || this.#cancel !== undefined || this.#stopping || this.#fencedBy !== undefined,
        log: this.#log,
      });
      if (end !== undefined) this.onTurnEnd(end);
      else if (!this.#ended) this.#trace.turnBegan();
    } catch (error) {
      if (this.#ended) return;
      const { type, message } = errorLine(error);
      this.#log.warn({ type, message: this.#options.redactor.text(message) }, 'the turn did not begin');
      // What the agent does now is unknown; it must not go on beside the next attempt.
      this.#driver?.kill();
      this.onTurnEnd({
        status: 'failed',
        failureKind: endedAgent(error)?.failureKind ?? 'agent-error',
        message: `${type}: ${message}`,
        turnId: null,
      });
    }
  }

  async #report(end: TurnEnd): Promise<ReportResult> {
    // Beside the report: the next turn waits for both.
    const clean = this.#cleanedUp ? undefined : cleanUpOrKill(this.#driver, this.#log);
    const result = await reportAttempt(end, {
      ...this.#options,
      api: this.#api,
      uploader: this.#attemptLog.uploader,
      events: this.#attemptLog.events,
      acknowledgements: this.#acknowledgements,
      threadId: this.#threadId,
      interference: {
        cancelRequested: this.#cancel !== undefined,
        cancelReason: this.#cancel?.reason ?? null,
        stopping: this.#stopping,
      },
      leftovers: () => this.#attemptLog.retryLeftovers(),
      signal: this.#givenUp.signal,
      log: this.#log,
    });
    // A beat after the outcome would be refused as fenced, although nobody took the run away.
    this.#heartbeat.stop();
    if (result === 'idle' || result === 'closing') await this.#attemptLog.reported();
    await clean;
    return this.#fencedBy === undefined ? result : 'fenced';
  }

  #command(command: CommandRecord): void {
    if (command.type === 'answer') this.#requests.answered(command);
    if (command.type !== 'steer' || command.deliveredAt !== null) return;
    if (command.state !== 'pending' && command.state !== 'acknowledged') return;
    if (!this.#attemptLog.events.expectSteer(command.id)) return;
    // Without steer the message waits for the turn's end and becomes the next one.
    if (this.#options.drivers.driver.capabilities.steer) this.#steers.add(command);
  }

  #requestCancel(reason: string | null, deadlineMs: number | null): void {
    if (this.#cancel !== undefined) return;
    this.#cancel = { reason };
    this.#log.info({ reason, deadlineMs }, 'cancel requested');
    this.#endTurn(cancelLimits(deadlineMs), (step) => {
      if (step === 'background-terminals-cleaned') this.#cleanedUp = true;
      this.onEvent({ type: 'backend_status', payload: { phase: step } });
    });
  }

  #endTurn(limits: LadderLimits, onStep?: Parameters<typeof endTurnByLadder>[0]['onStep']): void {
    if (this.#ended) return;
    this.#ladders.push(
      endTurnByLadder({
        driver: () => this.#driver,
        ended: this.#end,
        settle: () =>
          this.onTurnEnd({ status: 'interrupted', failureKind: null, message: null, turnId: null }),
        limits,
        ...(onStep === undefined ? {} : { onStep }),
        log: this.#log,
      }),
    );
  }

  /** This attempt is not ours any more: nothing is reported, the agent is stopped at once. */
  #fence(reason: string): void {
    if (this.#fencedBy !== undefined) return;
    this.#fencedBy = reason;
    this.#log.error({ reason }, 'fenced');
    this.#options.proxy.closeTurn();
    this.#requests.keep();
    this.#heartbeat.stop();
    this.#feed.stop();
    this.#attemptLog.uploader.stop();
    this.#acknowledgements.stop();
    this.#liveText.stop();
    this.#givenUp.abort();
    this.#endTurn(fenceLimits);
  }
}

/** The end of the agent's process, where that is why something failed. */
function endedAgent(error: unknown): AgentEndedError | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof AgentEndedError ? cause : undefined;
}
