import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { OnTelemetryFailure } from './guarded-export.js';

/** The metrics of one process. Nothing is global: a test has as many as it likes. */
export interface ProcessMetrics {
  readonly registry: Registry;
  /** Counts a failure of telemetry itself. */
  readonly onTelemetryFailure: OnTelemetryFailure;
  /** A metric that could not be counted must not change what it counts. Counted itself. */
  readonly quietly: (count: () => void) => void;
  /** Reads the connections of the process when somebody asks. Call once. */
  readonly measure: (parts: {
    readonly pool: PoolCounts;
    readonly listener: { readonly connected: boolean };
  }) => void;
}

/** A pool of database connections as it says itself (`pg.Pool`). */
export interface PoolCounts {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

/**
 * A registry with what every process has: its memory, CPU and event loop under prom-client's usual names, and a counter
 * of telemetry that failed.
 */
export function createProcessMetrics(): ProcessMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const failures = new Counter({
    name: 'agentrun_telemetry_failures_total',
    help: 'Spans that could not be made or sent, and metrics that could not be counted, by part: export, span or metric.',
    labelNames: ['part'] as const,
    registers: [registry],
  });
  for (const part of ['export', 'span', 'metric'] as const) failures.inc({ part }, 0);
  return {
    registry,
    onTelemetryFailure: (part) => failures.inc({ part }),
    quietly: (count) => {
      try {
        count();
      } catch {
        failures.inc({ part: 'metric' });
      }
    },
    measure: ({ pool, listener }) => {
      measurePool(registry, pool);
      measureListener(registry, listener);
    },
  };
}

/** Connections of the process's database pool, read when somebody asks. */
function measurePool(registry: Registry, pool: PoolCounts): void {
  new Gauge({
    name: 'agentrun_database_pool_connections',
    help: 'Connections of the database pool, by state: in-use or idle.',
    labelNames: ['state'] as const,
    registers: [registry],
    collect() {
      this.set({ state: 'in-use' }, pool.totalCount - pool.idleCount);
      this.set({ state: 'idle' }, pool.idleCount);
    },
  });
  new Gauge({
    name: 'agentrun_database_pool_waiting_requests',
    help: 'Requests that wait for a connection of the database pool.',
    registers: [registry],
    collect() {
      this.set(pool.waitingCount);
    },
  });
}

/** Whether wake-ups of Postgres arrive; without them every wait polls. */
function measureListener(registry: Registry, listener: { readonly connected: boolean }): void {
  new Gauge({
    name: 'agentrun_listener_connected',
    help: '1 while wake-ups of Postgres arrive (LISTEN), else 0.',
    registers: [registry],
    collect() {
      this.set(listener.connected ? 1 : 0);
    },
  });
}
