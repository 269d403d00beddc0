import { Client, Connection } from '@temporalio/client';
import type { TemporalTls } from '../config/service-settings.js';
import type { Tracing } from '../telemetry/tracing.js';
import { createTracingPlugin } from './tracing-plugin.js';

/** How to reach Temporal. With `apiKey`, TLS is on unless `tls` says otherwise (Temporal Cloud). */
export interface TemporalSettings {
  readonly address: string;
  readonly namespace: string;
  readonly tls?: boolean | TemporalTls | undefined;
  /** Secret. */
  readonly apiKey?: string | undefined;
}

export interface TemporalConnection {
  readonly client: Client;
  readonly connection: Connection;
}

/**
 * A client that connects with its first call, so that a process starts and serves what needs no Temporal while Temporal is
 * down. Every caller sets a deadline of its own (`client.withDeadline`). Close `connection` at the end.
 */
export function connectTemporal(settings: TemporalSettings, tracing: Tracing): TemporalConnection {
  const connection = Connection.lazy({
    address: settings.address,
    tls: tlsTowards(settings),
    ...(settings.apiKey === undefined ? {} : { apiKey: settings.apiKey }),
    connectTimeout: 2_000,
  });
  const client = new Client({
    connection,
    namespace: settings.namespace,
    plugins: [createTracingPlugin(tracing)],
  });
  return { client, connection };
}

/** What every connection to Temporal says about TLS. */
export function tlsTowards({ tls, apiKey }: Pick<TemporalSettings, 'tls' | 'apiKey'>): boolean | TemporalTls {
  return tls ?? apiKey !== undefined;
}
