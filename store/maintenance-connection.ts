import pg from 'pg';
import type { Queryable } from './pool.js';

/** For statements that look through a month of runs or events, which no request waits for. */
const statementTimeoutMs = 60_000;
/** Short: whoever waits for a lock of a whole table makes everybody after him wait too, and those give up after 1 s. */
const lockTimeoutMs = 500;

/** Runs `work` on a connection of its own, whose limits are those of maintenance instead of the pool's. Closed on every path. */
export async function withMaintenanceConnection<T>(
  databaseUrl: string,
  work: (client: Queryable) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: 'agentrun-maintenance',
    connectionTimeoutMillis: 10_000,
    statement_timeout: statementTimeoutMs,
    // The limit above is the server's; one that does not answer at all is left after this.
    query_timeout: statementTimeoutMs + 10_000,
    lock_timeout: lockTimeoutMs,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
  });
  // Without a listener, a connection that breaks between two statements would end the process; the next statement says that it broke.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
