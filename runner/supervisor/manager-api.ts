import type { z } from 'zod';
import {
  type ApiClient,
  type ApiClientOptions,
  ApiError,
  type ClientLog,
  ConnectionError,
  createApiClient,
  noRetry,
  RawBody,
  type RetryPolicy,
} from '../../client/index.js';
import type { AgentRequestResolution } from '../../contract/agent-requests.js';
import type { CommandRecord, Outcome } from '../../contract/commands.js';
import type { DeltasAnswer, SendDeltas } from '../../contract/deltas.js';
import type { IngestAnswer } from '../../contract/ingest.js';
import { routes } from '../../contract/routes/index.js';
import type {
  Assignment,
  commandPageSchema,
  leaseAnswerSchema,
  nextAnswerSchema,
  outcomeAnswerSchema,
  Progress,
  registerSchema,
  runnerLeaseAnswerSchema,
} from '../../contract/runners.js';
import type { refreshStorageSchema } from '../../contract/storage.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import type { TraceHeaders } from './run-trace.js';
import { tracedFetch } from './traced-fetch.js';

/** How long the API may hold a long poll (architecture.md 5). */
const longPollMs = 25_000;
const longPollTimeoutMs = 40_000;
/** A look at one row. */
const lookTimeoutMs = 5_000;
/** Register and claim: waits of at most 69 s in all, and a request that hangs is given up after 30 s. */
const startRetry: RetryPolicy = { attempts: 15, baseDelayMs: 100, maxDelayMs: 8_000 };

export type LeaseAnswer = z.infer<typeof leaseAnswerSchema>;
export type CommandPage = z.infer<typeof commandPageSchema>;
export type OutcomeAnswer = z.infer<typeof outcomeAnswerSchema>;
export type NextAnswer = z.infer<typeof nextAnswerSchema>;
export type RunnerLeaseAnswer = z.infer<typeof runnerLeaseAnswerSchema>;

interface ApiSettings {
  readonly baseUrl: string;
  readonly redactor: Redactor;
  readonly log: ClientLog;
}

/** The API as one runner instance uses it: launch token, then runner token; each claimed run has its own token. */
export class ManagerApi {
  readonly #settings: ApiSettings;
  readonly #launch: ApiClient;
  readonly #runner: ApiClient;
  #runnerToken = '';

  constructor(
    settings: ApiSettings & { readonly launchToken: string; readonly traceparent?: string | null },
  ) {
    this.#settings = settings;
    const { baseUrl, log, redactor, launchToken } = settings;
    redactor.add(launchToken);
    const onRefused = refusalLog(log);
    this.#launch = createApiClient({
      baseUrl,
      log,
      onRefused,
      token: () => launchToken,
      fetch: tracedFetch(settings.traceparent ?? null),
    });
    this.#runner = createApiClient({ baseUrl, log, onRefused, token: () => this.#runnerToken });
  }

  /** Who the API says that the launch token is. */
  async whoami(): Promise<void> {
    await this.#launch.call(routes.whoami, {}, { retry: startRetry });
  }

  async register(body: z.input<typeof registerSchema>): Promise<void> {
    const answer = await this.#launch.call(routes.registerRunner, { body }, { retry: startRetry });
    if (answer.runnerToken === null) {
      throw new ConnectionError('invalid-answer', 'register answered no runner token to a launch token');
    }
    this.#setRunnerToken(answer.runnerToken);
  }

  claim(runId: string, body: { runnerId: string; leaseMs: number }): Promise<Assignment> {
    return this.#launch.call(routes.claimRun, { params: { runId }, body }, { retry: startRetry });
  }

  /** The idle runner's long poll for its next run. */
  next(runnerId: string, signal: AbortSignal): Promise<NextAnswer> {
    return this.#runner.call(
      routes.nextWork,
      { params: { runnerId }, query: { waitMs: longPollMs } },
      { timeoutMs: longPollTimeoutMs, signal, retry: noRetry },
    );
  }

  /** The idle runner's heartbeat. */
  async renewRunner(runnerId: string, leaseMs: number, timeoutMs: number): Promise<RunnerLeaseAnswer> {
    const answer = await this.#runner.call(
      routes.renewRunner,
      { params: { runnerId }, body: { leaseMs } },
      { timeoutMs, retry: noRetry },
    );
    this.#setRunnerToken(answer.runnerToken);
    return answer;
  }

  /** The routes of a run that was assigned to this runner. */
  run(assignment: Assignment, trace?: TraceHeaders): RunApi {
    return new RunApi(this.#settings, assignment, this.#runner, trace);
  }

  #setRunnerToken(token: string): void {
    this.#runnerToken = token;
    this.#settings.redactor.rotate('runner token', token);
  }
}

/** The runner's routes of one run, with the run's own token; every heartbeat brings a fresh one. */
export class RunApi {
  readonly #params: { readonly runId: string };
  readonly #client: ApiClient;
  readonly #runner: ApiClient;
  readonly #redactor: Redactor;
  /** Of requests that come again and again. */
  readonly #steady: { readonly headers?: Readonly<Record<string, string>> };
  #token = '';

  constructor(settings: ApiSettings, assignment: Assignment, runner: ApiClient, trace?: TraceHeaders) {
    this.#steady = trace?.silent == null ? {} : { headers: { traceparent: trace.silent } };
    this.#params = { runId: assignment.run.id };
    this.#runner = runner;
    this.#redactor = settings.redactor;
    this.#setToken(assignment.runToken);
    this.#client = createApiClient({
      baseUrl: settings.baseUrl,
      log: settings.log,
      onRefused: refusalLog(settings.log),
      token: () => this.#token,
      fetch: tracedFetch(trace?.joined ?? null),
    });
  }

  /**
   * One heartbeat; its answer brings a fresh run token. A run token that an outage has outlived is answered 401: the runner token, which lives as long
   * as the runner, then gets a new one while the epoch is current (decisions.md, Auth).
   */
  async heartbeat(
    body: { readonly runnerId: string; readonly leaseMs: number; readonly progress: Progress },
    timeoutMs: number,
  ): Promise<LeaseAnswer> {
    const renew = (client: ApiClient): Promise<LeaseAnswer> =>
      client.call(
        routes.renewLease,
        { params: this.#params, body },
        { timeoutMs, ...this.#steady, retry: noRetry },
      );
    let answer: LeaseAnswer;
    try {
      answer = await renew(this.#client);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      answer = await renew(this.#runner);
    }
    this.#setToken(answer.runToken);
    return answer;
  }

  /** The long poll for commands; it ends early when `watched`, what the runner believes, is not so. */
  commands(afterSeq: number, watched: boolean, signal: AbortSignal): Promise<CommandPage> {
    return this.#client.call(
      routes.listCommands,
      { params: this.#params, query: { afterSeq, waitMs: longPollMs, watched: watched ? 'true' : 'false' } },
      { timeoutMs: longPollTimeoutMs, signal, ...this.#steady, retry: noRetry },
    );
  }

  async acknowledge(commandId: string): Promise<void> {
    await this.#client.call(
      routes.acknowledgeCommand,
      { params: { commandId }, body: {} },
      { retry: noRetry },
    );
  }

  /** A command of this run as it stands now. */
  command(commandId: string, signal: AbortSignal): Promise<CommandRecord> {
    return this.#client.call(
      routes.getCommand,
      { params: { ...this.#params, commandId } },
      { timeoutMs: lookTimeoutMs, signal, retry: noRetry },
    );
  }

  /** What the record of a request says now that its time is over. */
  async expire(requestId: string, signal: AbortSignal): Promise<AgentRequestResolution> {
    const answer = await this.#client.call(
      routes.expireRequest,
      { params: { ...this.#params, requestId }, body: {} },
      { signal, retry: noRetry },
    );
    return answer.resolution;
  }

  /** Appends events; with `spilledEpoch` those that a former attempt could not send, which go to quarantine. */
  ingest(lines: string, timeoutMs: number, spilledEpoch?: number): Promise<IngestAnswer> {
    return this.#client.call(
      routes.ingestEvents,
      {
        params: this.#params,
        query: { spilledEpoch },
        body: new RawBody('application/x-ndjson', lines),
      },
      { timeoutMs, retry: noRetry },
    );
  }

  /** Hands over text that the agent is writing; best effort. */
  deltas(body: SendDeltas, timeoutMs: number): Promise<DeltasAnswer> {
    return this.#client.call(
      routes.sendDeltas,
      { params: this.#params, body },
      { timeoutMs, ...this.#steady, retry: noRetry },
    );
  }

  /** Tells what the session's storage holds, which only its runner can look at. */
  async storage(
    sessionId: string,
    facts: z.input<typeof refreshStorageSchema>,
    timeoutMs: number,
  ): Promise<void> {
    await this.#client.call(
      routes.refreshStorage,
      { params: { sessionId }, body: facts },
      { timeoutMs, retry: noRetry },
    );
  }

  /** Reports the attempt's outcome; the same one again is answered the same. */
  finish(outcome: Outcome, timeoutMs: number): Promise<OutcomeAnswer> {
    return this.#client.call(
      routes.finishAttempt,
      { params: this.#params, body: outcome },
      { timeoutMs, retry: noRetry },
    );
  }

  #setToken(token: string): void {
    this.#token = token;
    this.#redactor.rotate('run token', token);
  }
}

/** Each refusal is a line: a wrong base URL must not go unseen for weeks (requirements.md A.0.c 27). */
function refusalLog(log: ClientLog): NonNullable<ApiClientOptions['onRefused']> {
  return (refused) => log.warn({ ...refused }, 'the API refused a request');
}
