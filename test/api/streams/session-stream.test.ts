import { afterAll, describe, expect, it } from 'vitest';
import { sessionStreamFrameSchema } from '../../../contract/streams.js';
import { startApiProcess } from '../../support/api-process.js';
import { openStream } from '../../support/stream-reader.js';
import { newSessionId, owner } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import { endRun, idsFrom, lastSeqOf, namesOf, sessionStream, turnWithEvents } from '../support/streams.js';

// The writer is this process, the reader is on another.
const { api, database } = await useApi();
const other = await startApiProcess({ database, keySet: api.keySet });
afterAll(() => other.stop());

async function emptySession(): Promise<{ sessionId: string }> {
  const sessionId = newSessionId();
  await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
  return { sessionId };
}

/** A session with turns that have ended; answers the ids of its stream. */
async function endedTurns(count: number) {
  const { sessionId } = await emptySession();
  const ids: string[] = [];
  for (let turn = 1; turn <= count; turn += 1) {
    const { runId } = await turnWithEvents(api, turn + 1, sessionId);
    await endRun(database, runId);
    ids.push(...idsFrom(1, await lastSeqOf(database, runId)).map((seq) => `${turn}.${seq}`));
  }
  return { sessionId, ids, last: ids.at(-1) ?? '' };
}

const archive = (sessionId: string) => api.call('POST', `/api/v1/sessions/${sessionId}/archive`);

describe('the stream of a session', () => {
  it('is its turns one after another, also those that begin later', async () => {
    const session = await endedTurns(3);
    const reader = await openStream(other.url, sessionStream(session));
    await reader.until('caught-up');
    expect(reader.ids()).toEqual(session.ids);
    expect(reader.frames.at(-1)?.data).toEqual({ seq: session.last });
    const fourth = await turnWithEvents(api, 2, session.sessionId);
    const stored = await lastSeqOf(database, fourth.runId);
    await reader.untilTrue(() => reader.ids().at(-1) === `4.${stored}`);
    await endRun(database, fourth.runId);
    const fifth = await turnWithEvents(api, 1, session.sessionId);
    const ends = idsFrom(1, await lastSeqOf(database, fourth.runId)).map((seq) => `4.${seq}`);
    const begun = idsFrom(1, await lastSeqOf(database, fifth.runId)).map((seq) => `5.${seq}`);
    await reader.untilTrue(() => reader.ids().at(-1) === begun.at(-1));
    expect(reader.ids()).toEqual([...session.ids, ...ends, ...begun]);
    expect(namesOf(reader.frames)).toEqual(['event', 'caught-up', 'event']);
    for (const frame of reader.frames) sessionStreamFrameSchema.parse(frame);
    await reader.close();
  });

  it('waits for its first turn', async () => {
    const session = await emptySession();
    const reader = await openStream(other.url, sessionStream(session, '?start=latest'));
    await reader.until('caught-up');
    expect(reader.frames).toEqual([{ frame: 'caught-up', id: null, data: { seq: '0.0' } }]);
    await turnWithEvents(api, 1, session.sessionId);
    await reader.untilTrue(() => reader.ids().length > 0);
    expect(reader.ids()[0]).toBe('1.1');
    await reader.close();
  });

  it('goes on after its cursor, within a turn and between two', async () => {
    const session = await endedTurns(2);
    const { ids } = session;
    for (const at of [0, 1, ids.indexOf('2.1') - 1, ids.indexOf('2.1'), ids.length - 1]) {
      const headers = { 'last-event-id': ids[at] ?? '' };
      const reader = await openStream(other.url, sessionStream(session, '?after=0.0'), { headers });
      await reader.until('caught-up');
      expect([ids[at], reader.ids()]).toEqual([ids[at], ids.slice(at + 1)]);
      await reader.close();
    }
    const first = await openStream(other.url, sessionStream(session, '?after=0.0'));
    await first.until('caught-up');
    expect(first.ids()).toEqual(ids);
    await first.close();
  });

  it('refuses a cursor that it never gave', async () => {
    const session = await endedTurns(2);
    const outcome = async (after: string) => {
      const { status, body } = await api.call('GET', sessionStream(session, `?after=${after}`));
      return `${status} ${String(body.failureKind)}`;
    };
    for (const beyond of ['0.1', '1.999', '2.999', '3.0', '9.1'])
      expect([beyond, await outcome(beyond)]).toEqual([beyond, '409 cursor-ahead']);
    for (const wrong of ['7', '1.', '.1', '1.2.3', 'x', '-1.0'])
      expect([wrong, await outcome(wrong)]).toEqual([wrong, '400 schema-invalid']);
  });

  it('names what retention has dropped', async () => {
    const session = await endedTurns(2);
    await database.pool.query(
      `delete from events where seq <= 2 and run_id = (select run_id from runs where session_id = $1 and session_turn = 2)`,
      [session.sessionId],
    );
    const reader = await openStream(other.url, sessionStream(session));
    await reader.until('caught-up');
    expect(reader.frames.find(({ frame }) => frame === 'gap')?.data).toEqual({
      from: '2.1',
      to: '2.2',
      reason: 'retention',
    });
    expect(reader.ids()).toEqual(session.ids.filter((id) => id !== '2.1' && id !== '2.2'));
    await reader.close();
  });

  it('ends when its session is archived, and only then', async () => {
    const session = await endedTurns(1);
    const reader = await openStream(other.url, sessionStream(session));
    await reader.until('caught-up');
    await archive(session.sessionId);
    expect(await reader.over).toBe(true);
    const end = { status: 'archived', terminalStatus: null, lastSeq: session.last };
    expect(reader.frames.at(-1)).toEqual({ frame: 'stream-end', id: null, data: end });
    const late = await openStream(other.url, sessionStream(session));
    expect(await late.over).toBe(true);
    expect([late.ids(), namesOf(late.frames)]).toEqual([session.ids, ['event', 'caught-up', 'stream-end']]);
    await api.call('POST', `/api/v1/sessions/${session.sessionId}/unarchive`);
    const again = await openStream(other.url, sessionStream(session));
    await again.until('caught-up');
    await turnWithEvents(api, 1, session.sessionId);
    await again.untilTrue(() => again.ids().some((id) => id.startsWith('2.')));
    await again.close();
  });

  it('ends when its session is deleted, also when another of the same id is there', async () => {
    const [between, within] = [await endedTurns(1), await endedTurns(1)];
    await turnWithEvents(api, 1, within.sessionId);
    const readers = [
      await openStream(other.url, sessionStream(between)),
      await openStream(other.url, sessionStream(within)),
    ];
    for (const reader of readers) await reader.until('caught-up');
    // As a deletion and a creation since the last look.
    await database.pool.query(
      `update sessions set created_at = created_at + interval '1 second' where session_id = $1`,
      [between.sessionId],
    );
    await database.pool.query('update sessions set deleted_at = now() where session_id = $1', [
      within.sessionId,
    ]);
    for (const reader of readers) {
      expect(await reader.over).toBe(true);
      expect(reader.frames.at(-1)).toMatchObject({ frame: 'stream-end', data: { status: 'deleted' } });
    }
  });
});
