import { expect, it } from 'vitest';
import { endAttempt } from '../../store/attempt-ends.js';
import { loadRetryFacts } from '../../store/retry-facts.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { storeTurn, turnSettings } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

/** The attempt was handed to an idle runner, which turns out to be dead. */
async function loseReusedRunner(runId: string, epoch: number): Promise<boolean | undefined> {
  await database.pool.query('update runner_jobs set reused = true where run_id = $1 and epoch = $2', [
    runId,
    epoch,
  ]);
  const facts = await loadRetryFacts(database.pool, { runId, epoch });
  await endAttempt(database.pool, {
    runId,
    epoch,
    failureKind: 'runner-lost',
    reason: 'the runner process ended',
    counted: true,
    compactNext: false,
    retryInMs: 0,
    park: null,
  });
  return facts?.isFree;
}

it('a hand-over to a runner that was dead already does not count, once per run', async () => {
  const { runId } = await storeTurn(database.pool, {});
  expect(await loseReusedRunner(runId, 1)).toBe(true);
  await writeAttempt(database.pool, turnSettings, runId, 2);
  expect(await loseReusedRunner(runId, 2)).toBe(false);
  await writeAttempt(database.pool, turnSettings, runId, 3);
  const facts = await loadRetryFacts(database.pool, { runId, epoch: 3 });
  expect(facts).toMatchObject({ providerParks: 0, former: [{ failureKind: 'runner-lost' }] });
});
