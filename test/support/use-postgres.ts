import { afterAll } from 'vitest';
import { startPostgres, type TestPostgres } from './postgres.js';

/** Starts Postgres for one test file and stops it after its last test. Awaited at the top of the file. */
export async function usePostgres(): Promise<TestPostgres> {
  let postgres: TestPostgres | undefined;
  afterAll(async () => {
    await postgres?.stop();
  });
  postgres = await startPostgres();
  return postgres;
}
