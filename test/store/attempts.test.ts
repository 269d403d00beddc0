import { describe, expect, it } from 'vitest';
import { jobNameOf, markRunnerGone, otherRunnersOfSession } from '../../store/attempts.js';
import { withTransaction } from '../../store/pool.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { claimTurn, storeTurn, turnSettings } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const rows = async (text: string, runId: string) => {
  const found = await database.pool.query<Record<string, unknown>>(text, [runId]);
  return found.rows;
};
const attemptsOf = (runId: string) =>
  rows('select epoch, job_name, mode from attempts where run_id = $1 order by epoch', runId);

describe('an attempt after the first', () => {
  it('has a job of its own and resumes; written twice at the same time it is there once', async () => {
    const { runId } = await storeTurn(database.pool);
    await claimTurn(database.pool, runId);
    const write = () => writeAttempt(database.pool, turnSettings, runId, 2);
    const [one, other] = await Promise.all([write(), write()]);
    expect(one).toEqual(other);
    expect(await attemptsOf(runId)).toEqual([
      { epoch: 1, job_name: jobNameOf(runId, 1), mode: 'start' },
      { epoch: 2, job_name: jobNameOf(runId, 2), mode: 'resume' },
    ]);
    expect(
      await rows('select epoch, phase from runner_jobs where run_id = $1 order by epoch', runId),
    ).toMatchObject([{ epoch: 1 }, { epoch: 2, phase: 'creating' }]);
  });

  it('names the runners that have to be gone before its own opens the thread', async () => {
    const { runId } = await storeTurn(database.pool);
    await claimTurn(database.pool, runId);
    const { jobName } = await writeAttempt(database.pool, turnSettings, runId, 2);
    const others = () => withTransaction(database.pool, (tx) => otherRunnersOfSession(tx, jobName));
    expect(await others()).toEqual([jobNameOf(runId, 1)]);
    await markRunnerGone(database.pool, jobNameOf(runId, 1));
    expect(await others()).toEqual([]);
  });

  it('of an external run waits for a runner that somebody else starts: no job of ours', async () => {
    const { runId } = await storeTurn(database.pool, { launcher: 'external' });
    expect(await writeAttempt(database.pool, turnSettings, runId, 2)).toMatchObject({
      launcher: 'external',
      reused: false,
    });
    expect(await rows('select 1 from runner_jobs where run_id = $1', runId)).toEqual([]);
  });
});
