import { errorLine, pause } from '../../client/index.js';
import { type CommandRecord, commandPayloadSchema } from '../../contract/commands.js';
import type { ProducedEvent } from '../../contract/events.js';
import { producedEventSchema } from '../../contract/events.js';
import type { Assignment } from '../../contract/runners.js';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import type { AgentDriver, DriverListener, TurnEnd } from '../drivers/driver.js';
import type { ProviderProxy } from '../proxy/provider-proxy.js';
import type { AgentHostConnection } from './agent-host-connection.js';
import { attemptOutcome } from './attempt-outcome.js';
import { CommandFeed } from './command-feed.js';
import type { DriverHost } from './driver-host.js';
import { EventUploader } from './event-uploader.js';
import { Heartbeat, selfFenceMs } from './heartbeat.js';
import type { ManagerApi, RunApi } from './manager-api.js';
import { type ReportResult, reportOutcome } from './outcome-report.js';
import { SteerQueue } from './steer-queue.js';

/** After a cancel the agent has this long to end its turn before its processes are killed (decisions.md, Timeouts). */
const cancelGraceMs = 5_000;
/** After a kill the agent's exit is not waited for any longer than this. */
const killGraceMs = 3_000;
/** On SIGTERM the turn has this long to end in order, and its report this long to get through. */
const stopGraceMs = 3_000;
const stopReportMs = 3_500;
/** The flush before the report has the patience; this one only begins it. */
const earlyFlushMs = 1_000;

export interface ServedRunOptions {
  readonly runnerId: string;
  readonly assignment: Assignment;
  readonly api: ManagerApi;
  readonly drivers: DriverHost;
  readonly proxy: ProviderProxy;
  readonly agentHost: AgentHostConnection;
  readonly workspaceDirectory: string;
  readonly redactor: Redactor;
  readonly log: Logger;
}

/** One assignment from claim to reported outcome: the turn, its events, heartbeats, steers and cancel. */
export class ServedRun implements DriverListener {
  readonly #options: ServedRunOptions;
  readonly #assignment: Assignment;
  readonly #log: Logger;
  readonly #api: RunApi;
  readonly #uploader: EventUploader;
  readonly #heartbeat: Heartbeat;
  readonly #feed: CommandFeed;
  readonly #steers: SteerQueue;
  readonly #steerIds = new Set<string>();
  /** Fires when nothing more can be reported: fenced, or out of grace. */
  readonly #givenUp = new AbortController();
  readonly #end: Promise<TurnEnd>;
  #settleEnd: (end: TurnEnd) => void = () => undefined;
  #ended = false;
  #driver: AgentDriver | undefined;
  #threadId: string | null = null;
  #agentDiff: ProducedEvent | undefined;
  #cancel: { readonly reason: string | null } | undefined;
  #stopping = false;
  #fencedBy: string | undefined;
  #phase = 'starting';
  #lastEventAt: string | null = null;
  #notifications = 0;

  constructor(options: ServedRunOptions) {
    const { assignment, runnerId } = options;
    this.#options = options;
    this.#assignment = assignment;
    this.#log = options.log.child({ runId: assignment.run.id, epoch: assignment.epoch });
    this.#api = options.api.run(assignment);
    this.#end = new Promise((resolve) => {
      this.#settleEnd = resolve;
    });
    const onFenced = (reason: string): void => this.#fence(reason);
    this.#uploader = new EventUploader({
      send: (lines, timeoutMs) => this.#api.ingest(lines, timeoutMs),
      onFenced,
      log: this.#log,
    });
    this.#heartbeat = new Heartbeat({
      beat: async (timeoutMs) => {
        const progress = {
          phase: this.#phase,
          lastEventAt: this.#lastEventAt,
          notifications: this.#notifications,
        };
        const answer = await this.#api.heartbeat(
          { runnerId, leaseMs: assignment.leaseMs, progress },
          timeoutMs,
        );
        if (answer.cancelRequested) this.#requestCancel(answer.cancelReason);
        return answer.nextHeartbeatMs;
      },
      intervalMs: assignment.heartbeatIntervalMs,
      fenceAfterMs: selfFenceMs(assignment.leaseMs, assignment.run.executionPolicy.partitionGraceMs),
      onFenced,
      log: this.#log,
    });
    this.#feed = new CommandFeed({
      poll: (afterSeq, signal) => this.#api.commands(afterSeq, signal),
      afterSeq: Math.max(0, ...assignment.commands.map((command) => command.seq)),
      onCommand: (command) => this.#addSteer(command),
      onCancel: (reason) => this.#requestCancel(reason),
      onFenced,
      log: this.#log,
    });
    this.#steers = new SteerQueue({
      steer: (id, payload) => this.#driver?.steer(id, payload) ?? Promise.resolve({ answer: 'noActiveTurn' }),
      onAccepted: (id) => this.#acknowledge(id),
      onRejected: (id, reason) =>
        this.onEvent({ type: 'steer_delivery', payload: { commandId: id, delivery: 'rejected', reason } }),
      log: this.#log,
    });
  }

  /** Serves the run to its end and answers what the runner does next. */
  async serve(): Promise<ReportResult> {
    const { drivers, proxy } = this.#options;
    drivers.listen(this);
    this.#heartbeat.start();
    this.#feed.start();
    for (const command of this.#assignment.commands) if (command.type === 'steer') this.#addSteer(command);
    proxy.openTurn();
    try {
      await this.#begin();
      const end = await this.#end;
      proxy.closeTurn();
      this.#steers.turnEnded();
      this.#phase = 'finishing';
      if (this.#fencedBy !== undefined) return 'fenced';
      return await this.#report(end);
    } finally {
      proxy.closeTurn();
      this.#steers.turnEnded();
      this.#feed.stop();
      this.#heartbeat.stop();
      this.#uploader.stop();
      drivers.unlisten();
    }
  }

  /** SIGTERM: interrupts the turn; `serve` then ends within some seconds. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    void this.#endTurn(stopGraceMs);
    const deadline = setTimeout(() => this.#givenUp.abort(), stopGraceMs + stopReportMs);
    deadline.unref();
  }

  onEvent(event: ProducedEvent): void {
    this.#lastEventAt = new Date().toISOString();
    // One diff per attempt: the workspace's own is better, and this one is kept for when there is none.
    if (event.type === 'diff') {
      this.#agentDiff = event;
      return;
    }
    const redacted = producedEventSchema.parse({
      ...event,
      at: event.at ?? this.#lastEventAt,
      payload: this.#options.redactor.json(event.payload),
      ...(event.raw === undefined ? {} : { raw: this.#options.redactor.json(event.raw) }),
    });
    this.#uploader.add(redacted);
    const commandId = event.type === 'user_message' ? event.payload.commandId : undefined;
    if (typeof commandId === 'string' && this.#steerIds.has(commandId)) {
      this.onEvent({ type: 'steer_delivery', payload: { commandId, delivery: 'delivered' } });
    }
  }

  onActivity(): void {
    this.#notifications += 1;
    this.#lastEventAt = new Date().toISOString();
  }

  onRequest(): void {}

  onRequestClosed(): void {}

  onTurnEnd(end: TurnEnd): void {
    this.#ended = true;
    this.#settleEnd(end);
  }

  /** Opens the thread and sends the prompt. A failure here is the turn's end. */
  async #begin(): Promise<void> {
    const prompt = this.#assignment.commands.find((command) => command.type === 'turn');
    try {
      if (prompt === undefined) throw new Error('the assignment holds no prompt');
      const payload = commandPayloadSchema.parse(prompt.payload);
      this.#driver = await this.#options.drivers.ready();
      const { threadId, resumed } = await this.#driver.openThread({
        threadId: this.#assignment.threadId,
        approvalPolicy: this.#assignment.run.executionPolicy.approvalPolicy,
        readHistory: false,
      });
      this.#threadId = threadId;
      this.onEvent({ type: 'backend_status', payload: { phase: 'thread-opened', threadId, resumed } });
      if (this.#cancel !== undefined || this.#stopping || this.#fencedBy !== undefined) {
        return this.onTurnEnd({ status: 'interrupted', failureKind: null, message: null, turnId: null });
      }
      await this.#driver.prompt(prompt.id, payload);
      this.#phase = 'running';
      this.#acknowledge(prompt.id);
      this.#steers.turnBegun();
    } catch (error) {
      if (this.#ended) return;
      const { type, message } = errorLine(error);
      this.#log.warn({ type, message: this.#options.redactor.text(message) }, 'the turn did not begin');
      // What the agent does now is unknown; it must not go on beside the next attempt.
      this.#driver?.kill();
      this.onTurnEnd({
        status: 'failed',
        failureKind: 'agent-error',
        message: `${type}: ${message}`,
        turnId: null,
      });
    }
  }

  async #report(end: TurnEnd): Promise<ReportResult> {
    const { redactor, proxy, drivers } = this.#options;
    // Side by side: what the agent said last is on its way while git looks.
    await Promise.all([this.#addDiff(), this.#uploader.flush(earlyFlushMs)]);
    const outcome = attemptOutcome(
      end,
      {
        cancelRequested: this.#cancel !== undefined,
        cancelReason: this.#cancel?.reason ?? null,
        stopping: this.#stopping,
      },
      this.#threadId,
    );
    if (typeof outcome.failureMessage === 'string')
      outcome.failureMessage = redactor.text(outcome.failureMessage).slice(0, 4_000);
    if (outcome.terminalStatus === 'failed') {
      const observation = proxy.lastObservation;
      this.onEvent({
        type: 'backend_status',
        payload: {
          phase: 'attempt-failed',
          failureKind: outcome.failureKind ?? null,
          message: outcome.failureMessage ?? null,
          providerStatus: observation?.status ?? null,
          providerErrorCode: observation?.errorCode ?? null,
          resetAt: observation?.resetAtMs == null ? null : new Date(observation.resetAtMs).toISOString(),
        },
      });
    }
    const result = await reportOutcome({
      api: this.#api,
      uploader: this.#uploader,
      outcome,
      signal: this.#givenUp.signal,
      ...(this.#stopping ? { flushLimitMs: 1_500 } : {}),
      log: this.#log,
    });
    // A beat after the outcome would be refused as fenced, although nobody took the run away.
    this.#heartbeat.stop();
    this.#log.info(
      { outcome: outcome.terminalStatus, failureKind: outcome.failureKind, next: result },
      'attempt reported',
    );
    // An interrupt leaves shell commands running (agents.md 2.1); between turns nothing of the agent's may.
    await drivers.driver.cleanUp();
    return this.#fencedBy === undefined ? result : 'fenced';
  }

  async #addDiff(): Promise<void> {
    if (this.#stopping) return;
    const workspace = await this.#options.agentHost.diff(this.#options.workspaceDirectory);
    const event: ProducedEvent | undefined =
      workspace.diff === null
        ? this.#agentDiff
        : {
            type: 'diff',
            payload: { diff: workspace.diff, source: 'workspace', truncated: workspace.truncated },
          };
    if (workspace.diff === '' || event === undefined) return;
    this.#uploader.add({
      type: 'diff',
      at: new Date().toISOString(),
      payload: producedEventSchema.shape.payload.parse(this.#options.redactor.json(event.payload)),
    });
  }

  #addSteer(command: CommandRecord): void {
    if (command.type !== 'steer' || command.deliveredAt !== null || this.#steerIds.has(command.id)) return;
    if (command.state !== 'pending' && command.state !== 'acknowledged') return;
    this.#steerIds.add(command.id);
    // Without steer the message waits for the turn's end and becomes the next one.
    if (this.#options.drivers.driver.capabilities.steer) this.#steers.add(command);
  }

  #acknowledge(commandId: string): void {
    this.#api.acknowledge(commandId).catch((error: unknown) => {
      this.#log.warn({ commandId, ...errorLine(error) }, 'a command was not acknowledged');
    });
  }

  #requestCancel(reason: string | null): void {
    if (this.#cancel !== undefined) return;
    this.#cancel = { reason };
    this.#log.info({ reason }, 'cancel requested');
    void this.#endTurn(cancelGraceMs);
  }

  /** Interrupts; kills what has not ended after the grace; at last settles without the agent. */
  async #endTurn(graceMs: number): Promise<void> {
    const driver = this.#driver;
    if (driver === undefined || this.#ended) return;
    const interrupted = driver.interrupt().catch((error: unknown) => {
      this.#log.warn(errorLine(error), 'the turn was not interrupted');
    });
    await Promise.race([this.#end, pause(graceMs)]);
    if (this.#ended) return interrupted;
    this.#log.warn({ graceMs }, 'the turn did not end in time: the agent is killed');
    driver.kill();
    await Promise.race([this.#end, pause(killGraceMs)]);
    if (!this.#ended)
      this.onTurnEnd({ status: 'interrupted', failureKind: null, message: null, turnId: null });
  }

  /** This attempt is not ours any more: nothing is reported, the agent is stopped at once. */
  #fence(reason: string): void {
    if (this.#fencedBy !== undefined) return;
    this.#fencedBy = reason;
    this.#log.error({ reason }, 'fenced');
    this.#options.proxy.closeTurn();
    this.#uploader.stop();
    this.#givenUp.abort();
    void this.#endTurn(1_000);
    if (this.#driver === undefined)
      this.onTurnEnd({ status: 'interrupted', failureKind: null, message: null, turnId: null });
  }
}
