import { describe, expect, it } from 'vitest';
import { cancelSteer, getCommand, readCommandPage } from '../../store/commands.js';
import type { Pool, Queryable } from '../../store/pool.js';
import { claimTurn, storeCommand, storeTurn } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

/** A pool in which something happens after the first statement. */
function interrupted(pool: Pool, happens: () => Promise<unknown>): Queryable {
  let first = true;
  return new Proxy(pool, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (name !== 'query' || typeof value !== 'function') return value;
      return async (...values: unknown[]) => {
        const result: unknown = await Reflect.apply(value, target, values);
        if (first) {
          first = false;
          await happens();
        }
        return result;
      };
    },
  });
}

describe('a page of commands', () => {
  const range = { afterSeq: 1, limit: 10, forRunner: true };

  it('is of one moment: no command comes with the state of before it', async () => {
    const { runId } = await storeTurn(database.pool);
    await claimTurn(database.pool, runId);
    const db = interrupted(database.pool, async () => {
      await database.pool.query('update runs set current_epoch = 2 where run_id = $1', [runId]);
      await storeCommand(database.pool, runId, 'answer');
    });
    expect(await readCommandPage(db, runId, range)).toMatchObject({ currentEpoch: 1, items: [], open: true });
    expect(await readCommandPage(database.pool, runId, range)).toMatchObject({
      currentEpoch: 2,
      items: [{ type: 'answer' }],
    });
  });

  it('has no command for a runner whose attempt has ended', async () => {
    const { runId } = await storeTurn(database.pool);
    await claimTurn(database.pool, runId);
    await storeCommand(database.pool, runId, 'steer');
    await database.pool.query('update attempts set ended_at = now() where run_id = $1', [runId]);
    expect((await readCommandPage(database.pool, runId, range)).items).toEqual([]);
    const forPerson = await readCommandPage(database.pool, runId, { afterSeq: 0, limit: 1 });
    expect(forPerson.items).toMatchObject([{ seq: 1, type: 'turn', payload: { prompt: 'do it' } }]);
  });
});

describe('a steer that is withdrawn', () => {
  it.each([
    [false, false],
    [true, true],
  ])('may be sent all the same once a runner has claimed: %s', async (claimed, sendable) => {
    const { runId } = await storeTurn(database.pool);
    if (claimed) await claimTurn(database.pool, runId);
    const steer = await getCommand(database.pool, await storeCommand(database.pool, runId, 'steer'));
    const withdrawn = await cancelSteer(database.pool, steer, undefined);
    expect(withdrawn).toMatchObject({ sendable, command: { state: 'cancelled', steerDelivery: 'rejected' } });
    expect(await cancelSteer(database.pool, steer, undefined)).toEqual(withdrawn);
  });
});
