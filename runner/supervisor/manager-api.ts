import { z } from 'zod';
import {
  type ApiClient,
  ApiError,
  type ClientLog,
  ConnectionError,
  createApiClient,
  noRetry,
  RawBody,
  type RetryPolicy,
} from '../../client/index.js';
import { type AgentRequestResolution, expireAnswerSchema } from '../../contract/agent-requests.js';
import { type CommandRecord, commandRecordSchema, type Outcome } from '../../contract/commands.js';
import { type IngestAnswer, ingestAnswerSchema } from '../../contract/ingest.js';
import {
  type Assignment,
  assignmentSchema,
  commandPageSchema,
  leaseAnswerSchema,
  nextAnswerSchema,
  outcomeAnswerSchema,
  type Progress,
  registerAnswerSchema,
  type registerSchema,
  runnerLeaseAnswerSchema,
} from '../../contract/runners.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';

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

  constructor(settings: ApiSettings & { readonly launchToken: string }) {
    this.#settings = settings;
    const { baseUrl, log, redactor, launchToken } = settings;
    redactor.add(launchToken);
    this.#launch = createApiClient({ baseUrl, log, token: () => launchToken });
    this.#runner = createApiClient({ baseUrl, log, token: () => this.#runnerToken });
  }

  async register(body: z.input<typeof registerSchema>): Promise<void> {
    const answer = await this.#launch.request(registerAnswerSchema, 'POST', route('runners', 'register'), {
      body,
      retry: startRetry,
    });
    if (answer.runnerToken === null) {
      throw new ConnectionError('invalid-answer', 'register answered no runner token to a launch token');
    }
    this.#setRunnerToken(answer.runnerToken);
  }

  claim(runId: string, body: { runnerId: string; leaseMs: number }): Promise<Assignment> {
    return this.#launch.request(assignmentSchema, 'POST', route('runs', runId, 'claim'), {
      body,
      retry: startRetry,
    });
  }

  /** The idle runner's long poll for its next run. */
  next(runnerId: string, signal: AbortSignal): Promise<NextAnswer> {
    return this.#runner.request(nextAnswerSchema, 'GET', route('runners', runnerId, 'next'), {
      query: { waitMs: longPollMs },
      timeoutMs: longPollTimeoutMs,
      signal,
      retry: noRetry,
    });
  }

  /** The idle runner's heartbeat. */
  async renewRunner(runnerId: string, leaseMs: number, timeoutMs: number): Promise<RunnerLeaseAnswer> {
    const answer = await this.#runner.request(
      runnerLeaseAnswerSchema,
      'PATCH',
      route('runners', runnerId, 'lease'),
      {
        body: { leaseMs },
        timeoutMs,
        retry: noRetry,
      },
    );
    this.#setRunnerToken(answer.runnerToken);
    return answer;
  }

  /** The routes of a run that was assigned to this runner. */
  run(assignment: Assignment): RunApi {
    return new RunApi(this.#settings, assignment, this.#runner);
  }

  #setRunnerToken(token: string): void {
    this.#runnerToken = token;
    this.#settings.redactor.rotate('runner token', token);
  }
}

/** The runner's routes of one run, with the run's own token; every heartbeat brings a fresh one. */
export class RunApi {
  readonly #runId: string;
  readonly #client: ApiClient;
  readonly #runner: ApiClient;
  readonly #redactor: Redactor;
  #token = '';

  constructor(settings: ApiSettings, assignment: Assignment, runner: ApiClient) {
    this.#runId = assignment.run.id;
    this.#runner = runner;
    this.#redactor = settings.redactor;
    this.#setToken(assignment.runToken);
    this.#client = createApiClient({
      baseUrl: settings.baseUrl,
      log: settings.log,
      token: () => this.#token,
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
      client.request(leaseAnswerSchema, 'PATCH', route('runs', this.#runId, 'lease'), {
        body,
        timeoutMs,
        retry: noRetry,
      });
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

  commands(afterSeq: number, signal: AbortSignal): Promise<CommandPage> {
    return this.#client.request(commandPageSchema, 'GET', route('runs', this.#runId, 'commands'), {
      query: { afterSeq, waitMs: longPollMs },
      timeoutMs: longPollTimeoutMs,
      signal,
      retry: noRetry,
    });
  }

  async acknowledge(commandId: string): Promise<void> {
    await this.#client.request(z.unknown(), 'POST', route('commands', commandId, 'ack'), {
      body: {},
      retry: noRetry,
    });
  }

  /** A command of this run as it stands now. */
  command(commandId: string, signal: AbortSignal): Promise<CommandRecord> {
    return this.#client.request(
      commandRecordSchema,
      'GET',
      route('runs', this.#runId, 'commands', commandId),
      { timeoutMs: lookTimeoutMs, signal, retry: noRetry },
    );
  }

  /** What the record of a request says now that its time is over. */
  async expire(requestId: string, signal: AbortSignal): Promise<AgentRequestResolution> {
    const answer = await this.#client.request(
      expireAnswerSchema,
      'POST',
      route('runs', this.#runId, 'requests', requestId, 'expire'),
      { body: {}, signal, retry: noRetry },
    );
    return answer.resolution;
  }

  /** Appends events; with `spilledEpoch` those that a former attempt could not send, which go to quarantine. */
  ingest(lines: string, timeoutMs: number, spilledEpoch?: number): Promise<IngestAnswer> {
    return this.#client.request(ingestAnswerSchema, 'POST', route('runs', this.#runId, 'ingest'), {
      query: { spilledEpoch },
      body: new RawBody('application/x-ndjson', lines),
      timeoutMs,
      retry: noRetry,
    });
  }

  /** Reports the attempt's outcome; the same one again is answered the same. */
  finish(outcome: Outcome, timeoutMs: number): Promise<OutcomeAnswer> {
    return this.#client.request(outcomeAnswerSchema, 'PATCH', route('runs', this.#runId, 'status'), {
      body: outcome,
      timeoutMs,
      retry: noRetry,
    });
  }

  #setToken(token: string): void {
    this.#token = token;
    this.#redactor.rotate('run token', token);
  }
}

function route(...segments: string[]): string[] {
  return ['api', 'v1', ...segments];
}
