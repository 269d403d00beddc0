import { afterAll } from 'vitest';
import { startApi, type TestApi } from './api.js';
import type { TestDatabase, TestPostgres } from './postgres.js';
import { usePostgres } from './use-postgres.js';

/** What most tests of the API stand on. */
export interface ApiUnderTest {
  readonly postgres: TestPostgres;
  readonly database: TestDatabase;
  readonly api: TestApi;
}

/**
 * Starts Postgres, a database and the API for one test file and stops them after its last test. Awaited at the top of the file, so that all of
 * it can be used as constants.
 */
export async function useApi(options: Parameters<typeof startApi>[1] = {}): Promise<ApiUnderTest> {
  const postgres = await usePostgres();
  const database = await postgres.newDatabase();
  const api = await startApi(database, options);
  afterAll(() => api.stop());
  return { postgres, database, api };
}
