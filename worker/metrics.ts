import { Counter, Gauge, Histogram } from 'prom-client';
import { runFailureKinds } from '../contract/failure-kinds.js';
import { terminalStatuses } from '../contract/states.js';
import { webhookFailureSchema } from '../contract/webhooks.js';
import { createProcessMetrics, type ProcessMetrics } from '../infra/telemetry/metrics.js';

/**
 * The worker's metrics. Labels are words of closed lists. What the Temporal SDK counts itself (latencies of workflows and
 * tasks) has a port of its own: AGENTRUN_TEMPORAL_METRICS_PORT.
 */
export class WorkerMetrics {
  readonly process: ProcessMetrics = createProcessMetrics();
  readonly #turns = new Counter({
    name: 'agentrun_turns_ended_total',
    help: 'Turns that ended, by terminal status and failure kind (none: it did not fail).',
    labelNames: ['status', 'failure_kind'] as const,
    registers: [this.process.registry],
  });
  readonly #attempts = new Counter({
    name: 'agentrun_attempts_ended_total',
    help: 'Attempts whose supervision ended, by its verdict.',
    labelNames: ['verdict'] as const,
    registers: [this.process.registry],
  });
  readonly #leaseExpiries = new Counter({
    name: 'agentrun_lease_expiries_total',
    help: 'Attempts that were given up because their lease ran out.',
    registers: [this.process.registry],
  });
  readonly #launches = new Histogram({
    name: 'agentrun_runner_launch_duration_seconds',
    help: 'Time to start a runner, until its processes run, by result: started or failed.',
    labelNames: ['result'] as const,
    buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
    registers: [this.process.registry],
  });
  readonly #supervised = new Gauge({
    name: 'agentrun_supervised_attempts',
    help: 'Attempts that this worker watches.',
    registers: [this.process.registry],
  });

  readonly #webhookTries = new Counter({
    name: 'agentrun_webhook_tries_total',
    help: 'Posts to webhooks, by result: delivered or why it failed.',
    labelNames: ['result'] as const,
    registers: [this.process.registry],
  });
  readonly #webhookEnds = new Counter({
    name: 'agentrun_webhook_deliveries_total',
    help: 'Deliveries to webhooks that ended, by state: delivered or dead.',
    labelNames: ['state'] as const,
    registers: [this.process.registry],
  });
  readonly #webhooksUnended = new Gauge({
    name: 'agentrun_webhook_deliveries_open',
    help: 'Deliveries to webhooks of the whole installation that have not ended, as of the last minute; up to 20,000 are counted.',
    registers: [this.process.registry],
  });

  turnEnded(status: string, failureKind: string | null): void {
    this.process.quietly(() =>
      this.#turns.inc({
        status: terminalStatuses.find((known) => known === status) ?? 'other',
        failure_kind:
          failureKind === null ? 'none' : (runFailureKinds.find((known) => known === failureKind) ?? 'other'),
      }),
    );
  }

  /** Counts an attempt as watched until the returned function is called, with the verdict if there is one. */
  supervisionBegan(): (verdict: string | undefined) => void {
    this.process.quietly(() => this.#supervised.inc());
    return (verdict) =>
      this.process.quietly(() => {
        this.#supervised.dec();
        // With a launcher that it was only now given the attempt goes on.
        if (verdict === undefined || verdict === 'launcher-given') return;
        this.#attempts.inc({ verdict });
        if (verdict === 'lease-lost') this.#leaseExpiries.inc();
      });
  }

  /** `failure`: why a post failed; null: it was taken. */
  webhookTried(failure: string | null): void {
    const result = webhookFailureSchema.safeParse(failure).data;
    this.process.quietly(() =>
      this.#webhookTries.inc({ result: failure === null ? 'delivered' : (result ?? 'other') }),
    );
  }

  webhookEnded(state: 'delivered' | 'dead'): void {
    this.process.quietly(() => this.#webhookEnds.inc({ state }));
  }

  webhooksUnended(count: number): void {
    this.process.quietly(() => this.#webhooksUnended.set(count));
  }

  launched(result: 'started' | 'failed', durationMs: number): void {
    this.process.quietly(() => this.#launches.observe({ result }, durationMs / 1_000));
  }
}
