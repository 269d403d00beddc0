import { describe, expect, it } from 'vitest';
import { createRecordActivities } from '../../activities/records.js';
import { idPrefixes } from '../../contract/ids.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { newId } from '../../store/new-id.js';
import { Notifier } from '../../store/notifier.js';
import { turnSettings } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

/** Stores a message as the API does. */
async function storedMessage(sessionId: string, whenBusy = 'steer'): Promise<string> {
  const commandId = newId(idPrefixes.command);
  const body = { payload: { prompt: 'do it' }, whenBusy, run: { tenantId: 'acme', projectId: 'web' } };
  await database.pool.query(
    `insert into session_messages (command_id, tenant_id, session_id, route, idempotency_key, body_hash, body)
     values ($1, 'acme', $2, 'send', $1, 'hash', $3)`,
    [commandId, sessionId, JSON.stringify(body)],
  );
  return commandId;
}

describe('who waits for the next turn of a session', () => {
  it('is woken when it begins, and when the session is deleted', async () => {
    const woken: string[] = [];
    const notifier = new Notifier(database.pool, createLogger({ name: 'test', level: 'silent' }));
    notifier.notify = (channel, key) => {
      if (channel === 'agentrun_session') woken.push(key);
    };
    const records = createRecordActivities({ pool: database.pool, notifier, settings: turnSettings });
    const accept = async (whenBusy?: string) =>
      records.acceptMessage({ commandId: await storedMessage('one', whenBusy) });
    const begun = await accept();
    expect([begun.decision, woken.splice(0)]).toEqual(['turn', ['one']]);
    expect([(await accept()).decision, woken.splice(0)]).toEqual(['steer', []]);
    expect([(await accept('queue')).decision, woken.splice(0)]).toEqual(['turn', []]);
    if (begun.decision !== 'turn') throw new Error('no turn');
    const end = { terminalStatus: 'completed', failureKind: null, failureMessage: null } as const;
    await records.finishTurn({ runId: begun.runId, end });
    const next = await records.nextTurn({ sessionId: 'one' });
    expect(woken.splice(0)).toEqual(['one']);
    // The same turn again: nothing has begun.
    await records.nextTurn({ sessionId: 'one' });
    expect(woken.splice(0)).toEqual([]);
    await records.finishTurn({ runId: next?.runId ?? '', end });
    const last = await records.nextTurn({ sessionId: 'one' });
    if (last !== null) await records.finishTurn({ runId: last.runId, end });
    woken.splice(0);
    await records.beginDeletion({ sessionId: 'one' });
    expect(woken).toEqual(['one']);
  });
});
