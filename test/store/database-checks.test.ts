import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../infra/config/package-root.js';
import { databaseChecks } from '../../store/database-checks.js';
import { migrationsDirectory } from '../../store/migrate.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

describe('the check of the database’s clock', () => {
  const look = (nowMs?: () => number) => {
    const { pool } = database;
    const checks = databaseChecks(pool, migrationsDirectory(packageRoot()), nowMs);
    return checks.find(({ name }) => name === 'database clock')?.look(AbortSignal.timeout(5_000));
  };

  it('finds nothing wrong between two programs of one machine', async () => {
    expect(await look()).toMatchObject({ ok: true });
  });

  it.each([
    [60_000, 'behind'],
    [-60_000, 'ahead of'],
  ])('with our clock %i ms ahead says that the other is %s this one', async (offsetMs, word) => {
    expect(await look(() => Date.now() + offsetMs)).toMatchObject({
      ok: false,
      message: expect.stringMatching(new RegExp(`(59|60) s ${word} this one`)),
      cure: expect.stringContaining('time server'),
    });
  });
});
