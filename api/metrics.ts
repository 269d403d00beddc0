import { Counter, Gauge, Histogram } from 'prom-client';
import type { IngestAnswer } from '../contract/ingest.js';
import type { OperationId } from '../contract/routes/index.js';
import { createProcessMetrics, type ProcessMetrics } from '../infra/telemetry/metrics.js';
import { StreamMetrics } from './streams/stream-metrics.js';

/** Why a token was refused: the codes of `unauthorized`, and `forbidden`. Any other word counts as `other`. */
const authReasons = [
  'missing',
  'malformed',
  'unknown',
  'expired',
  'wrong-audience',
  'wrong-issuer',
  'wrong-type',
  'bad-signature',
  'forbidden',
] as const;

/** What Node answers is any of its forty methods; these are the ones of the contract. */
const methods = ['GET', 'POST', 'PATCH', 'PUT', 'DELETE', 'HEAD', 'OPTIONS'] as const;

/** A request that has been answered. */
export interface AnsweredRequest {
  /** Undefined: no route, or a method that its route does not have. */
  readonly operationId: OperationId | undefined;
  readonly method: string;
  readonly status: number;
  readonly durationMs: number;
}

/**
 * The API's metrics. Labels are words of closed lists (operation ids, methods, statuses), never what a caller sends, so
 * that no request can make a new series.
 */
export class ApiMetrics {
  readonly process: ProcessMetrics = createProcessMetrics();
  readonly streams = new StreamMetrics(this.process);
  readonly #requests = new Counter({
    name: 'agentrun_http_requests_total',
    help: 'Answered requests by operation id (none: no route), method and HTTP status.',
    labelNames: ['operation', 'method', 'status'] as const,
    registers: [this.process.registry],
  });
  readonly #durations = new Histogram({
    name: 'agentrun_http_request_duration_seconds',
    help: 'Time from a request to the end of its answer, by operation id; long polls included.',
    labelNames: ['operation'] as const,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [this.process.registry],
  });
  readonly #inFlight = new Gauge({
    name: 'agentrun_http_requests_in_flight',
    help: 'Requests that are being answered, long polls included.',
    registers: [this.process.registry],
  });
  readonly #longPolls = new Gauge({
    name: 'agentrun_long_polls_open',
    help: 'Long polls that wait for something to happen.',
    registers: [this.process.registry],
  });
  readonly #authFailures = new Counter({
    name: 'agentrun_auth_failures_total',
    help: 'Refused callers by reason.',
    labelNames: ['reason'] as const,
    registers: [this.process.registry],
  });
  readonly #rateLimited = new Counter({
    name: 'agentrun_rate_limited_requests_total',
    help: 'Requests that were answered 429.',
    registers: [this.process.registry],
  });
  readonly #doubledPrefix = new Counter({
    name: 'agentrun_doubled_prefix_requests_total',
    help: 'Requests with the path prefix more than once, by the route that they reached: somebody has a wrong base URL.',
    labelNames: ['route'] as const,
    registers: [this.process.registry],
  });
  readonly #ingested = new Counter({
    name: 'agentrun_ingest_events_total',
    help: 'Events of runners by what became of them: accepted, duplicate or quarantined.',
    labelNames: ['result'] as const,
    registers: [this.process.registry],
  });
  readonly #eventLag = new Histogram({
    name: 'agentrun_event_lag_seconds',
    help: "Time from an event's own time to its being stored, by the clocks of runner and API.",
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800],
    registers: [this.process.registry],
  });
  readonly #auditFailures = new Counter({
    name: 'agentrun_audit_write_failures_total',
    help: 'Audit entries that could not be stored.',
    registers: [this.process.registry],
  });

  requestBegan(): void {
    this.process.quietly(() => this.#inFlight.inc());
  }

  requestEnded(request: AnsweredRequest): void {
    this.process.quietly(() => {
      this.#inFlight.dec();
      const operation = request.operationId ?? 'none';
      const method = methods.find((known) => known === request.method) ?? 'other';
      this.#requests.inc({ operation, method, status: request.status });
      this.#durations.observe({ operation }, request.durationMs / 1_000);
      if (request.status === 429) this.#rateLimited.inc();
    });
  }

  /** Counts a wait as open until the returned function is called. */
  longPollOpened(): () => void {
    this.process.quietly(() => this.#longPolls.inc());
    return () => this.process.quietly(() => this.#longPolls.dec());
  }

  /** `reason`: the code of the refusal, see {@link authReasons}. */
  authFailed(reason: string): void {
    const known = authReasons.find((word) => word === reason) ?? 'other';
    this.process.quietly(() => this.#authFailures.inc({ reason: known }));
  }

  /** `route`: its path with its parameters' names; undefined: no route answers. */
  prefixDoubled(route: string | undefined): void {
    this.process.quietly(() => this.#doubledPrefix.inc({ route: route ?? 'none' }));
  }

  auditWriteFailed(): void {
    this.process.quietly(() => this.#auditFailures.inc());
  }

  eventsIngested(answer: Pick<IngestAnswer, 'accepted' | 'duplicate'>): void {
    this.process.quietly(() => {
      this.#ingested.inc({ result: 'accepted' }, answer.accepted);
      this.#ingested.inc({ result: 'duplicate' }, answer.duplicate);
    });
  }

  eventsQuarantined(count: number): void {
    this.process.quietly(() => this.#ingested.inc({ result: 'quarantined' }, count));
  }

  /** An event that was stored just now. A clock that runs ahead counts as no lag. */
  eventStored(at: string | undefined, nowMs: number): void {
    const atMs = at === undefined ? Number.NaN : Date.parse(at);
    if (Number.isNaN(atMs)) return;
    this.process.quietly(() => this.#eventLag.observe(Math.max(0, nowMs - atMs) / 1_000));
  }
}
