import type { QueryResultRow } from 'pg';
import { isSameProcessAlive } from '../../infra/processes/process-identity.js';
import { eventually, type LocalStack, startLocalStack } from '../support/local-stack.js';
import { stackProcess } from '../support/runner-processes.js';

type Part = 'worker' | 'api' | 'postgres' | 'temporal';

/** `up` waits 1 s before the first restart of a part and twice as long each further time: the stack is begun anew before that adds up. */
const killsPerStart = 2;
/** Runners of a session that is done end soon, so that what is left behind shows. */
const runnerIdleTimeoutMs = 1_000;

/** A stack whose parts are killed, over the whole suite on one data folder. */
export class FaultyStack {
  readonly #dataDir: string;
  readonly #kills = new Map<Part, number>();
  local: LocalStack;

  private constructor(dataDir: string, local: LocalStack) {
    this.#dataDir = dataDir;
    this.local = local;
  }

  static async start(dataDir: string): Promise<FaultyStack> {
    return new FaultyStack(dataDir, await startLocalStack(() => undefined, dataDir, { runnerIdleTimeoutMs }));
  }

  /** Begins the stack anew when this part was killed too often in a row. */
  async readyToKill(part: Part): Promise<void> {
    if ((this.#kills.get(part) ?? 0) < killsPerStart) return;
    this.#kills.clear();
    await this.local.stop();
    this.local = await startLocalStack(() => undefined, this.#dataDir, { runnerIdleTimeoutMs });
  }

  /** kill -9 of one part; answers a wait for its successor. */
  kill(part: Part): () => Promise<void> {
    const former = stackProcess(this.#dataDir, part);
    this.#kills.set(part, (this.#kills.get(part) ?? 0) + 1);
    process.kill(former.pid, 'SIGKILL');
    return async () => {
      await eventually(`${part} runs again`, () => {
        try {
          const now = stackProcess(this.#dataDir, part);
          return now.pid !== former.pid && isSameProcessAlive(now) ? true : undefined;
        } catch {
          return undefined;
        }
      });
      await eventually('the API is ready', async () => {
        const health = await fetch(`${this.local.stack.apiUrl}/health/readiness`).catch(() => undefined);
        return health?.status === 200 ? true : undefined;
      });
    };
  }

  /** Rows of a query; a database that is away is waited for. */
  async rows<Row extends QueryResultRow>(sql: string, values: readonly unknown[]): Promise<Row[]> {
    return rowsOf<Row>(this.local, sql, values);
  }

  async stop(): Promise<void> {
    await this.local.stop();
  }
}

/** Rows of a query; a database that is away is waited for. */
export async function rowsOf<Row extends QueryResultRow>(
  local: LocalStack,
  sql: string,
  values: readonly unknown[],
): Promise<Row[]> {
  return eventually('the database answers', async () => {
    try {
      return (await local.db.query<Row>(sql, [...values])).rows;
    } catch (error) {
      // 08… and 57P… are connections; anything else is wrong in the query.
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (/^(42|22)/.test(code)) throw error;
      return undefined;
    }
  });
}
