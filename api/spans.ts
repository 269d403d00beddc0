import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { ProducedEvent } from '../contract/events.js';
import { eventSpan, type SpanDescription } from '../domain/event-spans.js';
import { bounded } from '../domain/run-facts.js';
import type { OnTelemetryFailure } from '../infra/telemetry/guarded-export.js';
import type { Redactor } from '../infra/telemetry/redaction.js';
import { withoutUrlSecrets } from '../infra/telemetry/url-secrets.js';

/** Of one batch of events at most so many have a span: a runner that fails in a loop must not fill the collector. */
const mostSpansOfBatch = 20;
const longestText = 300;
/** Of a text so much is looked through for secrets: what is cut off here, in the middle of one too, is far behind what is shown. */
const longestLook = 6_000;

/** The request that caused what a span tells. */
export interface SpanRequest {
  readonly method: string;
  /** The route's path with its parameters' names. */
  readonly route: string;
  readonly status: number;
  /** When the request began, in milliseconds since the epoch. */
  readonly startedAtMs: number;
}

/**
 * Emits the spans that the contract names (contract.md 8.5, 8.6), as children of what is traced right now. Whatever goes
 * wrong here is counted and changes nothing else (oddities 8, 9).
 */
export class ContractSpans {
  readonly #redactor: Redactor;
  readonly #onFailure: OnTelemetryFailure;

  constructor(options: { readonly redactor: Redactor; readonly onFailure: OnTelemetryFailure }) {
    this.#redactor = options.redactor;
    this.#onFailure = options.onFailure;
  }

  /** `describe` is asked here, so that its failure is one of telemetry too. */
  emit(request: SpanRequest, describe: () => readonly SpanDescription[]): void {
    try {
      for (const span of describe()) this.#emit(request, span);
    } catch (error) {
      this.#onFailure('span', error);
    }
  }

  /** The spans of a runner's events, of which few have one; the first {@link mostSpansOfBatch} of a batch. */
  events(request: SpanRequest & { readonly runId: string }, events: readonly ProducedEvent[]): void {
    this.emit(request, () =>
      events
        .flatMap((event) => eventSpan(event) ?? [])
        .slice(0, mostSpansOfBatch)
        .map((span) => ({ ...span, attributes: { runId: request.runId, ...span.attributes } })),
    );
  }

  #emit(request: SpanRequest, { name, error, attributes }: SpanDescription): void {
    const span = trace
      .getTracer('agentrun-api')
      .startSpan(name, { kind: SpanKind.INTERNAL, startTime: request.startedAtMs }, context.active());
    if (span.isRecording()) {
      span.setAttributes({
        'http.method': request.method,
        'http.route': request.route,
        'http.status_code': request.status,
      });
      for (const [key, value] of Object.entries(attributes)) {
        if (value !== null) span.setAttribute(key, typeof value === 'string' ? this.#clean(value) : value);
      }
      if (error !== null) span.setStatus({ code: SpanStatusCode.ERROR, message: this.#clean(error) });
    }
    span.end();
  }

  #clean(text: string): string {
    return bounded(withoutUrlSecrets(this.#redactor.text(text.slice(0, longestLook))), longestText);
  }
}
