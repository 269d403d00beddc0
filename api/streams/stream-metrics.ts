import { Counter, Gauge } from 'prom-client';
import type { OperationId } from '../../contract/routes/index.js';
import type { ProcessMetrics } from '../../infra/telemetry/metrics.js';

/** Why a connection ended: its own end, the client's leaving, a rotation, or an `error` frame. */
export const streamEnds = ['end', 'gone', 'age', 'shutdown', 'slow', 'unauthorized', 'failed'] as const;
export type StreamEnd = (typeof streamEnds)[number];

/** What is measured of streams, by the operation that they answer. */
export class StreamMetrics {
  readonly #quietly: ProcessMetrics['quietly'];
  readonly #open: Gauge<'operation'>;
  readonly #bytes: Counter<'operation'>;
  readonly #ended: Counter<'operation' | 'reason'>;

  constructor({ registry, quietly }: ProcessMetrics) {
    this.#quietly = quietly;
    const registers = [registry];
    this.#open = new Gauge({
      name: 'agentrun_streams_open',
      help: 'Streams that are open, by operation id.',
      labelNames: ['operation'],
      registers,
    });
    this.#bytes = new Counter({
      name: 'agentrun_stream_bytes_total',
      help: 'Bytes of frames handed to the sockets of streams, by operation id; keepalives left out.',
      labelNames: ['operation'],
      registers,
    });
    this.#ended = new Counter({
      name: 'agentrun_streams_ended_total',
      help: `Streams that ended, by operation id and reason: ${streamEnds.join(', ')}.`,
      labelNames: ['operation', 'reason'],
      registers,
    });
  }

  /** Counts a stream as open until the returned function is called. */
  opened(operation: OperationId): (reason: StreamEnd) => void {
    this.#quietly(() => this.#open.inc({ operation }));
    return (reason) =>
      this.#quietly(() => {
        this.#open.dec({ operation });
        this.#ended.inc({ operation, reason });
      });
  }

  sent(operation: OperationId, bytes: number): void {
    this.#quietly(() => this.#bytes.inc({ operation }, bytes));
  }
}
