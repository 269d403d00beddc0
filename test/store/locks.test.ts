import { describe, expect, it } from 'vitest';
import type { ProducedEvent } from '../../contract/events.js';
import { idPrefixes } from '../../contract/ids.js';
import { endAttempt } from '../../store/attempt-ends.js';
import { ingest } from '../../store/ingest.js';
import { newId } from '../../store/new-id.js';
import { withTransaction } from '../../store/pool.js';
import { lockSessionAndRun } from '../../store/run-lock.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { claimTurn, storeTurn, turnSettings } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const asks = (requestId: string): ProducedEvent => ({
  type: 'approval_requested',
  payload: {
    requestId,
    kind: 'command',
    itemId: null,
    summary: 'run it',
    command: 'true',
    cwd: null,
    reason: null,
    questions: [],
    fingerprint: 'f',
  },
});

async function servedTurn() {
  const { runId } = await storeTurn(database.pool, {});
  await claimTurn(database.pool, runId);
  const { rows } = await database.pool.query<{ job_name: string }>(
    'select job_name from attempts where run_id = $1',
    [runId],
  );
  return { runId, epoch: 1, runnerId: 'runner', jobName: rows[0]?.job_name ?? '' };
}
const send = (runner: Awaited<ReturnType<typeof servedTurn>>, event: ProducedEvent) =>
  ingest(database.pool, runner, { lines: [{ seq: 1, event }], finalSeq: null });

describe('events of a runner', () => {
  // A foreign key that is checked under the lock of the log must not wait for those who hold session and run and want the log.
  it('do not wait for a holder of session and run: the first message of a run', async () => {
    const runner = await servedTurn();
    await withTransaction(database.pool, async (tx) => {
      await lockSessionAndRun(tx, runner.runId);
      const message: ProducedEvent = { type: 'agent_message', payload: { itemId: 'i', text: 'hello' } };
      expect((await send(runner, message)).answer.accepted).toBe(1);
    });
  });

  it('do not wait for a holder of the session: a request of the agent', async () => {
    const runner = await servedTurn();
    await withTransaction(database.pool, async (tx) => {
      await tx.query(
        'select 1 from sessions s join runs r using (session_id) where r.run_id = $1 for no key update of s',
        [runner.runId],
      );
      expect((await send(runner, asks(newId(idPrefixes.agentRequest)))).answer.accepted).toBe(1);
    });
  });
});

describe('a request that comes after the end of its attempt was stored', () => {
  it('is superseded with the next attempt: no clock stands still for it', async () => {
    const runner = await servedTurn();
    const { runId } = runner;
    const requestId = newId(idPrefixes.agentRequest);
    await endAttempt(database.pool, {
      runId,
      epoch: 1,
      failureKind: 'runner-lost',
      reason: 'gone',
      counted: true,
      compactNext: false,
      retryInMs: 0,
      park: null,
    });
    await send(runner, asks(requestId));
    await writeAttempt(database.pool, turnSettings, runId, 2);
    const { rows } = await database.pool.query(
      'select q.state, r.paused_since from agent_requests q join runs r using (run_id) where request_id = $1',
      [requestId],
    );
    expect(rows).toEqual([{ state: 'superseded', paused_since: null }]);
  });
});
