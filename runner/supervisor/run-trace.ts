import { type Context, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Assignment } from '../../contract/runners.js';
import { contextOf, traceparentOf } from '../../infra/telemetry/trace-context.js';
import type { TurnEnd } from '../drivers/driver.js';

/** The W3C headers of a run's requests to the API. */
export interface TraceHeaders {
  /** The request joins the trace with a span of its own. */
  readonly joined: string | null;
  /** Long polls and heartbeats: the API's log names the trace, but a long turn is not drowned in their spans. */
  readonly silent: string | null;
}

/**
 * The spans of one run in its runner: `runner_serve`, below it the steps of the boot, the agent's turn and the report. Its
 * parent is what the run came from, so that a later run of a warm runner is in its own trace (docs/adr/0018). Without an
 * OTLP endpoint no span is made, and requests carry what the run came with.
 */
export class RunTrace {
  readonly headers: TraceHeaders;
  readonly #span: Span;
  readonly #context: Context;
  #turn: Span | undefined;

  constructor(assignment: Assignment, runnerId: string) {
    const parent = contextOf(assignment.traceparent);
    const { run, epoch } = assignment;
    this.#span = tracer().startSpan(
      'runner_serve',
      {
        kind: SpanKind.CONSUMER,
        attributes: { runId: run.id, sessionId: run.sessionId, epoch, runnerId },
      },
      parent,
    );
    this.#context = trace.setSpan(parent, this.#span);
    const span = this.#span.spanContext();
    const known = trace.isSpanContextValid(span);
    this.headers = {
      joined: known ? traceparentOf(span) : null,
      silent: known ? traceparentOf(span, { sampled: false }) : null,
    };
  }

  /** Runs a step of the run in a span of its own. */
  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const span = tracer().startSpan(name, {}, this.#context);
    try {
      return await work();
    } catch (error) {
      // What an agent says of its failure is in the events, redacted.
      span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : 'error' });
      throw error;
    } finally {
      span.end();
    }
  }

  /** The agent has its prompt. */
  turnBegan(): void {
    this.#turn ??= tracer().startSpan('agent_turn', {}, this.#context);
  }

  turnEnded({ status, failureKind }: Pick<TurnEnd, 'status' | 'failureKind'>): void {
    const attributes = { turnStatus: status, ...(failureKind === null ? {} : { failureKind }) };
    for (const span of [this.#turn, this.#span]) {
      span?.setAttributes(attributes);
      if (status === 'failed')
        span?.setStatus({ code: SpanStatusCode.ERROR, message: failureKind ?? status });
    }
    this.#turn?.end();
    this.#turn = undefined;
  }

  /** `result`: what the runner does next, or that it was fenced. */
  end(result: string | undefined): void {
    this.#turn?.end();
    if (result !== undefined) this.#span.setAttribute('result', result);
    this.#span.end();
  }
}

const tracer = () => trace.getTracer('agentrun-runner');
