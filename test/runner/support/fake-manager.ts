import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type CommandRecord, type Outcome, outcomeSchema } from '../../../contract/commands.js';
import type { ProducedEvent } from '../../../contract/events.js';
import { executionPolicySchema } from '../../../contract/execution-policy.js';
import { encodeId, idPrefixes } from '../../../contract/ids.js';
import { ingestLineSchema } from '../../../contract/ingest.js';
import { type Assignment, leaseSchema, registerSchema } from '../../../contract/runners.js';
import { uuidv7Bytes } from './uuid-bytes.js';

interface FakeRun {
  readonly assignment: Assignment;
  readonly commands: CommandRecord[];
  readonly events: ProducedEvent[];
  readonly acknowledged: string[];
  lastProducerSeq: number;
  cancelReason: string | null;
  outcome: Outcome | null;
  heartbeats: number;
}

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
  /** What the runner is told after an outcome. */
  runnerState: 'idle' | 'closing' = 'idle';
  url = '';

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.url = `http://127.0.0.1:${address.port}/base`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  addRun(
    prompt: string,
    options: { backendProfile?: 'codex' | 'command'; threadId?: string | null } = {},
  ): string {
    const id = encodeId(idPrefixes.run, uuidv7Bytes());
    const assignment = fakeAssignment(id, options);
    this.runs.set(id, {
      assignment,
      commands: [fakeCommand(id, 1, 'turn', prompt)],
      events: [],
      acknowledged: [],
      lastProducerSeq: 0,
      cancelReason: null,
      outcome: null,
      heartbeats: 0,
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

  cancel(runId: string, reason: string): void {
    this.run(runId).cancelReason = reason;
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
    this.authorizations.push(request.headers.authorization ?? '');
    const gone = new Promise<void>((resolve) => response.once('close', () => resolve()));
    const answer = await this.#route(`${request.method} ${url.pathname}`, url, body, gone).catch(
      (error: unknown) => {
        return { status: 400, failureKind: 'schema-invalid', message: String(error), details: {} };
      },
    );
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

  async #route(
    route: string,
    url: URL,
    body: string,
    gone: Promise<void>,
  ): Promise<{ data: unknown } | { status: number; failureKind: string; message: string; details: object }> {
    const [, resource, id, action] =
      /^[A-Z]+ \/base\/api\/v1\/([a-z]+)\/([^/]+)(?:\/([a-z]+))?$/.exec(route) ?? [];
    if (resource === 'runners' && id === 'register') {
      const runner = registerSchema.parse(JSON.parse(body));
      this.registered.push(runner);
      return { data: { ...runner, runnerToken: 'runner-token-1', runnerTokenExpiresAt: soon() } };
    }
    if (resource === 'runners' && action === 'next') return { data: await this.#next(gone) };
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
      for (const run of this.runs.values())
        if (run.commands.some((one) => one.id === id)) run.acknowledged.push(id);
      return { data: {} };
    }
    if (resource !== 'runs' || id === undefined)
      return { status: 404, failureKind: 'route-not-found', message: route, details: {} };
    if (this.fenced) return { status: 409, failureKind: 'fenced', message: 'not current', details: {} };
    const run = this.run(id);
    switch (action ?? '') {
      case 'claim':
        return { data: { ...run.assignment, commands: [...run.commands] } };
      case 'lease':
        leaseSchema.parse(JSON.parse(body));
        run.heartbeats += 1;
        return { data: leaseAnswer(run) };
      case 'commands':
        return { data: await this.#commands(run, Number(url.searchParams.get('afterSeq')), gone) };
      case 'ingest':
        return this.#ingest(run, body);
      case 'status':
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
  ): { data: unknown } | { status: number; failureKind: string; message: string; details: object } {
    const lines = body
      .trim()
      .split('\n')
      .map((line) => ingestLineSchema.parse(JSON.parse(line)));
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
    return { data: { accepted, duplicate: lines.length - accepted, lastAcceptedSeq: run.lastProducerSeq } };
  }

  async #commands(run: FakeRun, afterSeq: number, gone: Promise<void>): Promise<unknown> {
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
      Date.now() < deadline
    ) {
      await this.#change(deadline - Date.now());
    }
    return {
      items: found(),
      cancelRequested: run.cancelReason !== null,
      cancelReason: run.cancelReason,
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
    epoch: 1,
    leaseExpiresAt: soon(),
    leaseMs: run.assignment.leaseMs,
    cancelRequested: run.cancelReason !== null,
    cancelReason: run.cancelReason,
    pendingCommands: 0,
    lastAcceptedSeq: run.lastProducerSeq,
    runToken: `run-token-${run.heartbeats}`,
    runTokenExpiresAt: soon(),
    nextHeartbeatMs: run.assignment.heartbeatIntervalMs,
  };
}

function fakeAssignment(
  runId: string,
  options: { backendProfile?: 'codex' | 'command'; threadId?: string | null },
): Assignment {
  const now = new Date().toISOString();
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
      executionPolicy: executionPolicySchema.parse({}),
      workspace: null,
      labels: {},
      metadata: {},
      attempt: 1,
      epoch: 1,
      claimedBy: 'runner',
      leaseExpiresAt: now,
      cancelRequestedAt: null,
      cancelReason: null,
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
    epoch: 1,
    runToken: 'run-token-0',
    runTokenExpiresAt: soon(),
    leaseMs: 3_000,
    leaseExpiresAt: soon(),
    heartbeatIntervalMs: 1_000,
    threadId,
    commands: [],
    resume: null,
    grants: [],
  };
}

function fakeCommand(runId: string, seq: number, type: 'turn' | 'steer', prompt: string): CommandRecord {
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

function soon(): string {
  return new Date(Date.now() + 60_000).toISOString();
}
