import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AgentRequestResolution, AnswerPayload } from '../../../contract/agent-requests.js';
import { type CommandRecord, type Outcome, outcomeSchema } from '../../../contract/commands.js';
import { type SendDeltas, sendDeltasSchema } from '../../../contract/deltas.js';
import type { ProducedEvent } from '../../../contract/events.js';
import { type ExecutionPolicy, executionPolicySchema } from '../../../contract/execution-policy.js';
import { encodeId, idPrefixes } from '../../../contract/ids.js';
import { completionLineSchema, type IngestLine, ingestLineSchema } from '../../../contract/ingest.js';
import {
  type Assignment,
  type Grant,
  leaseSchema,
  type Progress,
  type Resume,
  registerSchema,
} from '../../../contract/runners.js';
import { type RefreshStorage, refreshStorageSchema, type StorageSummary } from '../../../contract/storage.js';
import type { Whoami } from '../../../contract/system.js';
import { uuidv7Bytes } from './uuid-bytes.js';

/** What is special about a run that a test adds. */
export interface FakeRunOptions {
  readonly backendProfile?: 'codex' | 'command';
  readonly threadId?: string | null;
  readonly epoch?: number;
  readonly resume?: Resume | null;
  readonly grants?: Grant[];
  readonly policy?: Partial<ExecutionPolicy>;
  readonly leaseMs?: number;
  readonly commands?: CommandRecord[];
}

interface FakeRun {
  assignment: Assignment;
  readonly commands: CommandRecord[];
  readonly events: ProducedEvent[];
  readonly acknowledged: string[];
  lastProducerSeq: number;
  /** Final sequences of the completion lines. */
  readonly completions: number[];
  cancelReason: string | null;
  cancelDeadlineMs: number | null;
  outcome: Outcome | null;
  heartbeats: number;
  /** Lines that came with `spilledEpoch`. */
  readonly spilled: { readonly epoch: number; readonly line: IngestLine }[];
  readonly progress: Progress[];
  /** Requests that the runner asked to expire, and what it is answered; none: 404, as long as the question is unknown. */
  readonly expired: string[];
  expireAnswer: AgentRequestResolution | null;
  /** Somebody reads its stream. */
  watched: boolean;
  /** What was said of text that is being written, and how many events there were then. */
  readonly deltas: { readonly body: SendDeltas; readonly events: number }[];
}

const unknownKey = { status: 401, failureKind: 'unauthorized', message: 'the key is not known', details: {} };

/** The API as a runner sees it, in memory: enough to serve runs, and to be told to misbehave. */
export class FakeManager {
  readonly runs = new Map<string, FakeRun>();
  readonly authorizations: string[] = [];
  readonly registered: unknown[] = [];
  #server = createServer((request, response) => void this.#serve(request, response));
  #waiters = new Set<() => void>();
  #nextRun: string | null = null;
  #close = false;
  /** Answers every write of a run with 409 `fenced`. */
  fenced = false;
  /** Every connection is cut: the API is away. */
  down = false;
  /** Every request is answered 503: the API is there, its database is not. */
  unavailable = false;
  /** Every request is answered with this status and no envelope: what stands before the API speaks for it. */
  gateway: number | null = null;
  /** Run tokens below this number are answered 401. */
  firstGoodRunToken = 0;
  /** The launch token is answered 401. */
  refusesLaunchToken = false;
  /** As the API of 0.1.0. */
  knowsNoWhoami = false;
  /** What the runner is told after an outcome. */
  runnerState: 'idle' | 'closing' = 'idle';
  /** Events are not taken: 503. */
  holdEvents = false;
  /** So many requests with events are answered 401, whatever their token: as a replica does that lacks a key. */
  refusedIngests = 0;
  /** So many outcomes are answered 400. */
  refusedOutcomes = 0;
  /** Outcomes are not taken: 503. */
  holdOutcomes = false;
  outcomesHeld = 0;
  /** What runners say of their storage is refused. */
  refusesStorage = false;
  /** What runners said of their sessions' storage, and how many runs had ended by then. */
  readonly storageTold: { sessionId: string; facts: RefreshStorage; turnsEnded: number }[] = [];
  /** How often an idle runner asked for its next run. */
  idlePolls = 0;
  url = '';

  /** `host`: an address of this machine that the runner reaches; pods do not reach loopback. */
  async listen(host = '127.0.0.1'): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, host, resolve));
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.url = `http://${host}:${address.port}/base`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  addRun(prompt: string, options: FakeRunOptions = {}): string {
    const id = encodeId(idPrefixes.run, uuidv7Bytes());
    const assignment = fakeAssignment(id, options);
    this.runs.set(id, {
      assignment,
      commands: options.commands ?? [fakeCommand(id, 1, 'turn', prompt)],
      events: [],
      acknowledged: [],
      lastProducerSeq: 0,
      completions: [],
      cancelReason: null,
      cancelDeadlineMs: null,
      outcome: null,
      heartbeats: 0,
      spilled: [],
      progress: [],
      expired: [],
      expireAnswer: null,
      watched: false,
      deltas: [],
    });
    this.#wake();
    return id;
  }

  run(id: string): FakeRun {
    const run = this.runs.get(id);
    if (run === undefined) throw new Error(`no run ${id}`);
    return run;
  }

  steer(runId: string, text: string): string {
    const run = this.run(runId);
    const command = fakeCommand(runId, run.commands.length + 1, 'steer', text);
    run.commands.push(command);
    this.#wake();
    return command.id;
  }

  /** The next attempt of a run: what the API hands to the runner that claims it. */
  nextAttempt(runId: string, changes: Partial<Assignment> = {}): void {
    const run = this.run(runId);
    const epoch = run.assignment.epoch + 1;
    run.assignment = { ...run.assignment, epoch, ...changes };
    run.lastProducerSeq = 0;
    run.outcome = null;
  }

  /** A person's answer, as the session's step stores it. */
  answer(runId: string, payload: AnswerPayload): string {
    const run = this.run(runId);
    const command = { ...fakeCommand(runId, run.commands.length + 1, 'answer', ''), payload };
    run.commands.push(command);
    this.#wake();
    return command.id;
  }

  cancel(runId: string, reason: string, deadlineMs: number | null = null): void {
    this.run(runId).cancelReason = reason;
    this.run(runId).cancelDeadlineMs = deadlineMs;
    this.#wake();
  }

  /** Somebody begins to read the stream of a run, or nobody reads it any more. */
  watch(runId: string, watched: boolean): void {
    this.run(runId).watched = watched;
    this.#wake();
  }

  /** The idle runner's next run. */
  handOver(runId: string): void {
    this.#nextRun = runId;
    this.#wake();
  }

  closeRunner(): void {
    this.#close = true;
    this.#wake();
  }

  /** Resolves as soon as `found` answers something, looked at after every request. */
  async until<T>(what: string, found: () => T | undefined | null | false, timeoutMs = 20_000): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const value = found();
      if (value !== undefined && value !== null && value !== false) return value;
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`${what} did not happen within ${timeoutMs} ms`);
      await this.#change(leftMs);
    }
  }

  event(runId: string, type: string, accept: (payload: ProducedEvent['payload']) => boolean = () => true) {
    return this.until(`${type} of ${runId}`, () =>
      this.run(runId).events.find((event) => event.type === type && accept(event.payload)),
    );
  }

  outcome(runId: string, timeoutMs?: number): Promise<Outcome> {
    return this.until(`outcome of ${runId}`, () => this.run(runId).outcome, timeoutMs);
  }

  #turnsEnded(): number {
    return [...this.runs.values()].filter((run) => run.outcome !== null).length;
  }

  #wake(): void {
    for (const wake of this.#waiters) wake();
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#waiters.add(done);
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    await new Promise((resolve) => request.once('end', resolve));
    const body = Buffer.concat(chunks).toString('utf8');
    const url = new URL(request.url ?? '', this.url);
    if (this.down) {
      request.socket.destroy();
      this.#wake();
      return;
    }
    if (this.gateway !== null) {
      response.writeHead(this.gateway, { 'content-type': 'text/html' });
      response.end('<h1>no backend</h1>');
      this.#wake();
      return;
    }
    this.authorizations.push(request.headers.authorization ?? '');
    const gone = new Promise<void>((resolve) => response.once('close', () => resolve()));
    const answer =
      this.#refusal(request) ??
      (await this.#route(`${request.method} ${url.pathname}`, url, body, gone).catch((error: unknown) => ({
        status: 400,
        failureKind: 'schema-invalid',
        message: String(error),
        details: {},
      })));
    if (this.down) {
      request.socket.destroy();
      return;
    }
    const refused = 'status' in answer;
    response.writeHead(refused ? answer.status : 200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(
        refused
          ? { ok: false, ...answer, traceId: 't', error: answer }
          : { ok: true, data: answer.data, traceId: 't' },
      ),
    );
    this.#wake();
  }

  #refusal(request: IncomingMessage) {
    if (this.unavailable)
      return { status: 503, failureKind: 'unavailable', message: 'no database', details: {} };
    const number = /^Bearer run-token-(\d+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (number !== undefined && Number(number) < this.firstGoodRunToken)
      return { status: 401, failureKind: 'unauthorized', message: 'the token has expired', details: {} };
    return undefined;
  }

  #whoami() {
    if (this.refusesLaunchToken) return unknownKey;
    if (this.knowsNoWhoami)
      return { status: 404, failureKind: 'route-not-found', message: 'no such route', details: {} };
    const launch: Whoami = {
      kind: 'launch',
      name: null,
      scopes: [],
      tenantId: null,
      runId: null,
      epoch: null,
      runnerId: null,
      installationId: 'test',
    };
    return { data: launch };
  }

  async #route(
    route: string,
    url: URL,
    body: string,
    gone: Promise<void>,
  ): Promise<{ data: unknown } | { status: number; failureKind: string; message: string; details: object }> {
    if (route === 'GET /base/api/v1/whoami') return this.#whoami();
    const [, resource, id, action, requestId] =
      /^[A-Z]+ \/base\/api\/v1\/([a-z]+)\/([^/]+)(?:\/([a-z]+)(?:\/([^/]+?)(?:\/expire)?)?)?$/.exec(route) ??
      [];
    if (resource === 'runners' && id === 'register') {
      if (this.refusesLaunchToken) return unknownKey;
      const runner = registerSchema.parse(JSON.parse(body));
      this.registered.push(runner);
      return { data: { ...runner, runnerToken: 'runner-token-1', runnerTokenExpiresAt: soon() } };
    }
    if (resource === 'runners' && action === 'next') {
      this.idlePolls += 1;
      this.#wake();
      return { data: await this.#next(gone) };
    }
    if (resource === 'runners' && action === 'lease') {
      const data = {
        runnerId: id,
        state: 'idle',
        leaseExpiresAt: soon(),
        idleUntil: null,
        runnerToken: 'runner-token-2',
        nextHeartbeatMs: 1_000,
      };
      return { data };
    }
    if (resource === 'commands' && id !== undefined) {
      for (const run of this.runs.values()) {
        const command = run.commands.find((one) => one.id === id);
        if (command === undefined) continue;
        run.acknowledged.push(id);
        return { data: command };
      }
      return { status: 404, failureKind: 'not-found', message: 'no such command', details: {} };
    }
    if (resource === 'sessions' && action === 'storage') {
      const facts = refreshStorageSchema.parse(JSON.parse(body));
      this.storageTold.push({ sessionId: id ?? '', facts, turnsEnded: this.#turnsEnded() });
      if (this.refusesStorage)
        return { status: 409, failureKind: 'fenced', message: 'not the last runner', details: {} };
      return {
        data: { action: 'session-storage-refreshed', sessionId: id, summary: storageSummary(id ?? '') },
      };
    }
    if (resource !== 'runs' || id === undefined)
      return { status: 404, failureKind: 'route-not-found', message: route, details: {} };
    if (this.fenced) return { status: 409, failureKind: 'fenced', message: 'not current', details: {} };
    const run = this.run(id);
    switch (action ?? '') {
      case 'claim':
        return { data: { ...run.assignment, commands: [...run.commands] } };
      case 'lease':
        run.progress.push(leaseSchema.required().parse(JSON.parse(body)).progress);
        run.heartbeats += 1;
        return { data: leaseAnswer(run) };
      case 'commands': {
        const command = run.commands.find((one) => one.id === requestId);
        if (command !== undefined) return { data: command };
        return { data: await this.#commands(run, url.searchParams, gone) };
      }
      case 'ingest':
        if (this.holdEvents) return { status: 503, failureKind: 'unavailable', message: 'held', details: {} };
        if (this.refusedIngests > 0) {
          this.refusedIngests -= 1;
          return { status: 401, failureKind: 'unauthorized', message: 'unknown key', details: {} };
        }
        return this.#ingest(run, body, url.searchParams.get('spilledEpoch'));
      case 'deltas': {
        const deltas = sendDeltasSchema.parse(JSON.parse(body));
        run.deltas.push({ body: deltas, events: run.events.length });
        return { data: { accepted: run.watched ? deltas.deltas.length : 0, watched: run.watched } };
      }
      case 'requests':
        run.expired.push(requestId ?? '');
        if (run.expireAnswer === null)
          return { status: 404, failureKind: 'not-found', message: 'no such request', details: {} };
        return { data: { requestId, resolution: run.expireAnswer } };
      case 'status':
        if (this.holdOutcomes) {
          this.outcomesHeld += 1;
          return { status: 503, failureKind: 'unavailable', message: 'held', details: {} };
        }
        if (this.refusedOutcomes > 0) {
          this.refusedOutcomes -= 1;
          return { status: 400, failureKind: 'schema-invalid', message: 'U+0000', details: {} };
        }
        run.outcome = outcomeSchema.parse(JSON.parse(body));
        return {
          data: { run: run.assignment.run, outcome: {}, runnerState: this.runnerState, idleUntil: soon() },
        };
      default:
        return { status: 404, failureKind: 'route-not-found', message: route, details: {} };
    }
  }

  #ingest(
    run: FakeRun,
    body: string,
    spilledEpoch: string | null,
  ): { data: unknown } | { status: number; failureKind: string; message: string; details: object } {
    const texts = body.split('\n').filter((line) => line !== '');
    const completion = completionLineSchema.safeParse(JSON.parse(texts.at(-1) ?? 'null')).data;
    const lines = texts
      .slice(0, completion === undefined ? undefined : -1)
      .map((line) => ingestLineSchema.parse(JSON.parse(line)));
    if (spilledEpoch !== null) {
      for (const line of lines) run.spilled.push({ epoch: Number(spilledEpoch), line });
      return { data: { accepted: lines.length, duplicate: 0, lastAcceptedSeq: lines.at(-1)?.seq ?? 0 } };
    }
    let accepted = 0;
    for (const line of lines) {
      if (line.seq <= run.lastProducerSeq) continue;
      if (line.seq !== run.lastProducerSeq + 1) {
        const details = { accepted, duplicate: 0, lastAcceptedSeq: run.lastProducerSeq };
        return { status: 409, failureKind: 'conflict', message: 'gap', details };
      }
      run.lastProducerSeq = line.seq;
      run.events.push(line.event);
      accepted += 1;
    }
    if (completion !== undefined) {
      const { finalSeq } = completion.complete;
      if (finalSeq !== run.lastProducerSeq)
        throw new Error(`completed at ${finalSeq} instead of ${run.lastProducerSeq}`);
      run.completions.push(finalSeq);
    }
    return { data: { accepted, duplicate: lines.length - accepted, lastAcceptedSeq: run.lastProducerSeq } };
  }

  async #commands(run: FakeRun, query: URLSearchParams, gone: Promise<void>): Promise<unknown> {
    const afterSeq = Number(query.get('afterSeq'));
    const found = () => run.commands.filter((command) => command.seq > afterSeq);
    const deadline = Date.now() + 25_000;
    let left = false;
    void gone.then(() => {
      left = true;
      this.#wake();
    });
    while (
      !left &&
      found().length === 0 &&
      run.cancelReason === null &&
      run.outcome === null &&
      String(run.watched) === query.get('watched') &&
      Date.now() < deadline
    ) {
      await this.#change(deadline - Date.now());
    }
    return {
      items: found(),
      cancelRequested: run.cancelReason !== null,
      cancelReason: run.cancelReason,
      cancelDeadlineMs: run.cancelDeadlineMs,
      watched: run.watched,
      open: run.outcome === null,
    };
  }

  async #next(gone: Promise<void>): Promise<unknown> {
    const deadline = Date.now() + 25_000;
    let left = false;
    void gone.then(() => {
      left = true;
      this.#wake();
    });
    while (!left && this.#nextRun === null && !this.#close && Date.now() < deadline) {
      await this.#change(deadline - Date.now());
    }
    if (this.#nextRun === null) return { assignment: null, close: this.#close };
    const run = this.run(this.#nextRun);
    this.#nextRun = null;
    return { assignment: { ...run.assignment, commands: [...run.commands] }, close: false };
  }
}

function leaseAnswer(run: FakeRun): unknown {
  return {
    runId: run.assignment.run.id,
    epoch: run.assignment.epoch,
    leaseExpiresAt: soon(),
    leaseMs: run.assignment.leaseMs,
    cancelRequested: run.cancelReason !== null,
    cancelReason: run.cancelReason,
    cancelDeadlineMs: run.cancelDeadlineMs,
    pendingCommands: 0,
    lastAcceptedSeq: run.lastProducerSeq,
    runToken: `run-token-${run.heartbeats}`,
    runTokenExpiresAt: soon(),
    nextHeartbeatMs: run.assignment.heartbeatIntervalMs,
    watched: run.watched,
  };
}

function fakeAssignment(runId: string, options: FakeRunOptions): Assignment {
  const now = new Date().toISOString();
  const epoch = options.epoch ?? 1;
  const leaseMs = options.leaseMs ?? 3_000;
  const threadId = options.threadId ?? null;
  return {
    run: {
      id: runId,
      tenantId: 'tenant',
      projectId: 'project',
      sessionId: 'session',
      sessionTurn: 1,
      sessionRef: { sessionId: 'session', conversationId: null, threadId, metadata: {} },
      backendProfile: options.backendProfile ?? 'codex',
      providerId: null,
      status: 'claimed',
      launcher: 'process',
      executionPolicy: executionPolicySchema.parse(options.policy ?? {}),
      workspace: null,
      labels: {},
      metadata: {},
      attempt: epoch,
      epoch,
      claimedBy: 'runner',
      leaseExpiresAt: now,
      cancelRequestedAt: null,
      cancelReason: null,
      deadlineAt: null,
      terminalStatus: null,
      failureKind: null,
      failureMessage: null,
      threadId,
      turnId: null,
      createdAt: now,
      startedAt: null,
      finishedAt: null,
      updatedAt: now,
    },
    epoch,
    runToken: 'run-token-0',
    runTokenExpiresAt: soon(),
    leaseMs,
    leaseExpiresAt: soon(),
    heartbeatIntervalMs: Math.floor(leaseMs / 3),
    threadId,
    commands: [],
    resume: options.resume ?? null,
    grants: options.grants ?? [],
    traceparent: null,
  };
}

/** A command as the API hands it to a runner. */
export function fakeCommand(
  runId: string,
  seq: number,
  type: CommandRecord['type'],
  prompt: string,
): CommandRecord {
  return {
    id: encodeId(idPrefixes.command, uuidv7Bytes()),
    runId,
    sessionId: 'session',
    seq,
    type,
    state: 'pending',
    steerDelivery: null,
    payload: { prompt },
    idempotencyKey: null,
    nextCommandId: null,
    createdAt: new Date().toISOString(),
    acknowledgedAt: null,
    deliveredAt: null,
    finishedAt: null,
  };
}

function storageSummary(sessionId: string): StorageSummary {
  return {
    sessionId,
    storageKind: 'pvc',
    storageBackend: 'pvc',
    pvcName: 'volume',
    namespace: 'runners',
    pvcPhase: 'Bound',
    storageSizeBytes: null,
    storageFilesCount: null,
    storageSha256: null,
    storageUpdatedAt: null,
    codexRolloutSubdir: 'sessions',
    expiresAt: soon(),
    valuesPrinted: false,
  };
}

function soon(): string {
  return new Date(Date.now() + 60_000).toISOString();
}
