import pg from 'pg';

export type Pool = pg.Pool;
/** A client inside a transaction. */
export type Transaction = pg.PoolClient;
/** Anything that runs one statement. */
export type Queryable = Pick<pg.ClientBase, 'query'>;

export interface PoolOptions {
  connectionString: string;
  applicationName: string;
  maxConnections?: number;
  /** Told of errors on idle connections; without a listener one would end the process. */
  onError: (error: Error) => void;
}

// bigint columns hold counters far below 2^53; as text they would be compared as text.
const parseBigint = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError('a bigint column holds a number above 2^53');
  return value;
};
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, parseBigint);

/**
 * A pool with bounded statements (1.5 s), lock waits (1 s) and connects (2 s): a short write that hangs would freeze the workflow whose
 * local activity it is (architecture.md 3.4).
 */
export function createPool(options: PoolOptions): Pool {
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    application_name: options.applicationName,
    max: options.maxConnections ?? 20,
    connectionTimeoutMillis: 2_000,
    statement_timeout: 1_500,
    // The limits above are the server's; one that does not answer at all is left after this.
    query_timeout: 3_000,
    lock_timeout: 1_000,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
    types,
  });
  pool.on('error', options.onError);
  return pool;
}

/** Runs `work` in one transaction: committed when it resolves, rolled back when it rejects. */
export async function withTransaction<T>(
  pool: Pool,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    try {
      await client.query('rollback');
    } catch (rollbackError) {
      // The connection is of no more use; the pool must not hand it out again.
      broken = rollbackError instanceof Error ? rollbackError : new Error(String(rollbackError));
    }
    throw error;
  } finally {
    client.release(broken);
  }
}
