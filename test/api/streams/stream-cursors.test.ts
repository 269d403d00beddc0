import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { appendEvents } from '../../../store/events.js';
import { withTransaction } from '../../../store/pool.js';
import { adminToken } from '../../support/api.js';
import { startApiProcess } from '../../support/api-process.js';
import { openStream, type StreamAsked } from '../../support/stream-reader.js';
import { newSessionId, owner, startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import {
  endRun,
  idsFrom,
  lastSeqOf,
  namesOf,
  post,
  runStream,
  sessionStream,
  turnWithEvents,
} from '../support/streams.js';

// The writer is this process, the reader is on another.
const { api, database } = await useApi();
const other = await startApiProcess({ database, keySet: api.keySet });
afterAll(() => other.stop());

const failureSchema = z.object({ failureKind: z.string(), message: z.string() });

/** A refusal of a stream: its status, kind and message. */
async function refusal(path: string, { token = adminToken, headers = {} }: StreamAsked = {}) {
  const response = await fetch(`${other.url}${path}`, {
    headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers },
  });
  const { failureKind, message } = failureSchema.parse(await response.json());
  return { outcome: `${response.status} ${failureKind}`, message };
}

/** The ids that come before `caught-up`. */
async function snapshot(path: string, headers: Record<string, string> = {}): Promise<string[]> {
  const reader = await openStream(other.url, path, { headers });
  await reader.until('caught-up');
  await reader.close();
  return reader.ids();
}

const lastEventId = (id: string) => ({ 'last-event-id': id });

describe('the cursor of a run', () => {
  it('is exclusive, at the first event, in the middle and at the last', async () => {
    const runner = await turnWithEvents(api, 10);
    const last = await lastSeqOf(database, runner.runId);
    expect(await snapshot(runStream(runner))).toEqual(idsFrom(1, last));
    for (const after of [0, 1, 5, last]) {
      expect(await snapshot(runStream(runner, `?after=${after}`))).toEqual(idsFrom(after + 1, last));
      expect(await snapshot(runStream(runner), lastEventId(String(after)))).toEqual(idsFrom(after + 1, last));
    }
  });

  it('at the last event of a run that has ended is answered with the end', async () => {
    const runner = await turnWithEvents(api, 2);
    await endRun(database, runner.runId);
    const last = await lastSeqOf(database, runner.runId);
    const reader = await openStream(other.url, runStream(runner, `?after=${last}`));
    expect(await reader.over).toBe(true);
    expect(namesOf(reader.frames)).toEqual(['caught-up', 'stream-end']);
  });

  it('of the header beats the one of the query, which beats start', async () => {
    const runner = await turnWithEvents(api, 8);
    const last = await lastSeqOf(database, runner.runId);
    expect(await snapshot(runStream(runner, '?after=2&start=latest'), lastEventId('6'))).toEqual(
      idsFrom(7, last),
    );
    expect(await snapshot(runStream(runner, '?after=2&start=latest'))).toEqual(idsFrom(3, last));
    expect(await snapshot(runStream(runner, '?start=latest'))).toEqual([]);
    // Empty is none.
    expect(await snapshot(runStream(runner, '?after=&start='), lastEventId(''))).toEqual(idsFrom(1, last));
  });

  it('is refused when it is malformed, with the name of its field', async () => {
    const runner = await turnWithEvents(api, 1);
    for (const wrong of [
      'abc',
      '-1',
      '1.5',
      '1 2',
      '0x1',
      '1e3',
      '9'.repeat(30),
      '1.1',
      '007',
      '00',
      '1,1',
    ]) {
      const query = await refusal(runStream(runner, `?after=${encodeURIComponent(wrong)}`));
      expect([wrong, query.outcome]).toEqual([wrong, '400 schema-invalid']);
      expect(query.message).toContain('query.after: expected');
      const header = await refusal(runStream(runner, '?after=1'), { headers: lastEventId(wrong) });
      expect([wrong, header.outcome]).toEqual([wrong, '400 schema-invalid']);
      expect(header.message).toContain('Last-Event-ID: expected');
      expect(header.message).not.toContain('received string');
    }
    // Of a header blanks at its ends are no part.
    for (const wrong of [' 3', '3 ', ' ', '+1']) {
      const { outcome } = await refusal(runStream(runner, `?after=${encodeURIComponent(wrong)}`));
      expect([wrong, outcome]).toEqual([wrong, '400 schema-invalid']);
    }
    for (const wrong of ['01.2', '1.02', '1.2 ', '1', '1.2.3', '.1', '1.']) {
      const { outcome } = await refusal(sessionStream(runner, `?after=${encodeURIComponent(wrong)}`));
      expect([wrong, outcome]).toEqual([wrong, '400 schema-invalid']);
    }
    expect((await refusal(runStream(runner, '?after=x'))).message).toBe(
      'query.after: expected the id of an event of this stream: a whole number, as 17 (received other text)',
    );
    const start = await refusal(runStream(runner, '?start=newest'));
    expect([start.outcome, start.message]).toEqual([
      '400 schema-invalid',
      expect.stringContaining('query.start: expected'),
    ]);
  });

  it('beyond the last event is refused, not waited for', async () => {
    const runner = await turnWithEvents(api, 1);
    const beyond = (await lastSeqOf(database, runner.runId)) + 1;
    const answers = [
      await refusal(runStream(runner, `?after=${beyond}`)),
      await refusal(runStream(runner), { headers: lastEventId(String(beyond)) }),
    ];
    expect(answers.map(({ outcome }) => outcome)).toEqual(['409 cursor-ahead', '409 cursor-ahead']);
    expect(answers[0]?.message).toBe(
      `the cursor is beyond the last event of this stream (${beyond - 1}): it is of another stream or another installation, or mistyped; without a cursor the stream begins with its first event`,
    );
  });
});

describe('start=latest', () => {
  it('shows only what comes from then on', async () => {
    const runner = await turnWithEvents(api, 3);
    const last = await lastSeqOf(database, runner.runId);
    const reader = await openStream(other.url, runStream(runner, '?start=latest'));
    await reader.until('caught-up');
    await post(api, runner, 4, 5);
    await reader.untilTrue(() => reader.ids().length === 2);
    expect(reader.ids()).toEqual(idsFrom(last + 1, last + 2));
    await reader.close();
  });

  it('begins with the first event where there is none yet', async () => {
    const created = await api.data(z.object({ id: z.string() }), 'POST', '/api/v1/runs', { body: owner });
    const reader = await openStream(other.url, runStream({ runId: created.id }, '?start=latest'));
    await reader.until('caught-up');
    expect(reader.frames).toEqual([{ frame: 'caught-up', id: null, data: { seq: 0 } }]);

    await withTransaction(database.pool, (tx) =>
      appendEvents(
        tx,
        created.id,
        1,
        [1, 2, 3].map((text) => ({ type: 'agent_message', payload: { text: String(text) } })),
      ),
    );
    await reader.untilTrue(() => reader.ids().length === 3);
    expect(reader.ids()).toEqual(['1', '2', '3']);
    await reader.close();
  });
});

describe('a stream that there is not', () => {
  it('is refused: unknown, malformed, of another tenant, without a token', async () => {
    const stranger = { token: 'agr_acme_0123456789abcdef' };
    const foreign = await startTurn(api);
    await database.pool.query(`update runs set tenant_id = 'other' where run_id = $1`, [foreign.runId]);
    await database.pool.query(`update sessions set tenant_id = 'other' where session_id = $1`, [
      foreign.sessionId,
    ]);
    const unknown = `run_${'0'.repeat(26)}`;
    const outcomes = [
      (await refusal(runStream({ runId: unknown }))).outcome,
      (await refusal(sessionStream({ sessionId: newSessionId() }))).outcome,
      (await refusal(runStream(foreign), stranger)).outcome,
      (await refusal(sessionStream(foreign), stranger)).outcome,
      (await refusal(runStream(foreign), { token: null })).outcome,
      (await refusal(runStream(foreign, `?token=${adminToken}`), { token: null })).outcome,
      (await refusal(runStream(foreign), { token: foreign.runToken })).outcome,
    ];
    expect(outcomes).toEqual([
      '404 not-found',
      '404 not-found',
      '404 not-found',
      '404 not-found',
      '401 unauthorized',
      '401 unauthorized',
      '401 unauthorized',
    ]);
  });

  it.each(['a/b', 'a?b', 'a&b', 'a#b', 'a%2Fb', '..', 'ünïcode', 'a b'])(
    'is never reached by the id %s',
    async (id) => {
      for (const path of [
        runStream({ runId: encodeURIComponent(id) }),
        sessionStream({ sessionId: encodeURIComponent(id) }),
      ]) {
        const { outcome } = await refusal(path);
        expect([path, outcome]).toEqual([path, expect.stringMatching(/^40[04] /)]);
      }
    },
  );

  it('leaves no token in the log', () => {
    expect(other.log()).not.toContain(adminToken);
  });
});
