import { randomBytes } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import type { ProducedEvent } from '../../contract/events.js';
import { appendEvents, readEvents } from '../../store/events.js';
import { type LogRead, readLogs } from '../../store/log-reads.js';
import { withTransaction } from '../../store/pool.js';
import { finishTurn } from '../../store/turn-steps.js';
import { storeTurn } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const message = (text: string): ProducedEvent => ({ type: 'agent_message', payload: { text } });
const numbered = (count: number) =>
  Array.from({ length: count }, (_, index) => message(`message ${index + 1}`));

/** A run with these events and no others. */
async function runWith(events: readonly ProducedEvent[]): Promise<string> {
  const { runId } = await storeTurn(database.pool);
  await withTransaction(database.pool, (tx) => appendEvents(tx, runId, 1, events));
  return runId;
}

async function read(runId: string, afterSeq: number, limits = { events: 200, bytes: 1_000_000 }) {
  const found = (await readLogs(database.pool, [{ runId, afterSeq }], limits)).get(runId);
  if (found === undefined) throw new Error('the run is not found');
  return found;
}

const seqsOf = ({ events }: LogRead) => events.map(({ seq }) => seq);

describe('the logs of runs', () => {
  it('are read at once, each from its own place, with where each stands', async () => {
    const [one, two, none] = [await runWith(numbered(3)), await runWith(numbered(5)), await runWith([])];
    await finishTurn(database.pool, two, {
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      failureMessage: null,
    });
    const unknown = `run_${'0'.repeat(26)}`;
    const cursors = [
      { runId: one, afterSeq: 1 },
      { runId: two, afterSeq: 4 },
      { runId: none, afterSeq: 0 },
      { runId: unknown, afterSeq: 0 },
    ];
    const found = await readLogs(database.pool, cursors, { events: 200, bytes: 1_000_000 });
    expect([...found.keys()]).toEqual([one, two, none]);
    const open = { isClosed: false, status: 'pending', terminalStatus: null };
    expect(found.get(one)).toMatchObject({ ...open, lastSeq: 3, upTo: 3 });
    expect(found.get(none)).toEqual({ ...open, lastSeq: 0, upTo: 0, events: [] });
    expect(found.get(two)).toMatchObject({
      isClosed: true,
      status: 'failed',
      terminalStatus: 'failed',
      lastSeq: 6,
      upTo: 6,
    });
    expect([...found.values()].map(seqsOf)).toEqual([[2, 3], [5, 6], []]);
  });

  it('hold events as a page of them does, whatever their text', async () => {
    const texts = ['line\none\r\n\n', '\u2028 \u0085 "quoted" \\ back', 'id: 7\ndata: x\n\n', '😀 ünïcode'];
    const runId = await runWith([
      ...texts.map(message),
      { ...message('with raw'), raw: { deep: [1, 'two\n', null, 1.5e-7] } },
    ]);
    const { events } = await read(runId, 0);
    const page = await readEvents(database.pool, runId, { afterSeq: 0, limit: 100 });
    expect(events.map(({ json }): unknown => JSON.parse(json))).toEqual(page.items);
    for (const { json } of events) expect(json).not.toMatch(/[\r\n]/);
  });

  it('are cut by count and by size, and say how far they were read', async () => {
    const runId = await runWith(numbered(10));
    const byCount = await read(runId, 0, { events: 4, bytes: 1_000_000 });
    expect([seqsOf(byCount), byCount.upTo, byCount.lastSeq]).toEqual([[1, 2, 3, 4], 4, 10]);
    // Random text is not compressed, the others are: of both no more than asked for, but always one.
    const texts = [randomBytes(30_000).toString('base64'), 'x'.repeat(40_000)];
    for (const text of texts) {
      const large = await runWith(Array.from({ length: 5 }, () => message(text)));
      const bySize = await read(large, 0, { events: 200, bytes: 100_000 });
      expect([seqsOf(bySize), bySize.upTo]).toEqual([[1, 2], 2]);
      const tiny = await read(large, 3, { events: 200, bytes: 10 });
      expect([seqsOf(tiny), tiny.upTo]).toEqual([[4], 4]);
    }
  });

  it('bring no more text than was asked for and one event, however well it is compressed', async () => {
    const runId = await runWith(
      Array.from({ length: 12 }, () => message('a line of a build\n'.repeat(40_000))),
    );
    const sizes = await database.pool.query<{ stored: number; text: number }>(
      'select max(pg_column_size(payload)) as stored, max(length(payload::text)) as text from events where run_id = $1',
      [runId],
    );
    expect(sizes.rows[0]?.text).toBeGreaterThan((sizes.rows[0]?.stored ?? 0) * 50);
    const asked = vi.spyOn(database.pool, 'query');
    const limits = { events: 200, bytes: 128 * 1_024 };
    const found = await read(runId, 3, limits);
    const answer: unknown = await asked.mock.results[0]?.value;
    asked.mockRestore();
    expect([seqsOf(found), found.upTo]).toEqual([[4], 4]);
    expect(z.object({ rows: z.array(z.unknown()) }).parse(answer).rows.length).toBe(1);
  });

  it('are read past what is stored no more', async () => {
    const runId = await runWith(numbered(10));
    await database.pool.query('delete from events where run_id = $1 and seq in (1, 5, 9, 10)', [runId]);
    const all = await read(runId, 0);
    expect([seqsOf(all), all.upTo]).toEqual([[2, 3, 4, 6, 7, 8], 10]);
    // Cut exactly before the hole at the end: the next read finds it.
    const cut = await read(runId, 0, { events: 6, bytes: 1_000_000 });
    expect(cut.upTo).toBe(8);
    expect(await read(runId, cut.upTo)).toMatchObject({ events: [], upTo: 10, lastSeq: 10 });
  });

  it('of a session that is being deleted are not there', async () => {
    const { runId, sessionId } = await storeTurn(database.pool);
    await database.pool.query('update sessions set deleted_at = now() where session_id = $1', [sessionId]);
    const found = await readLogs(database.pool, [{ runId, afterSeq: 0 }], { events: 1, bytes: 1 });
    expect(found.size).toBe(0);
  });

  it('are never seen closed without their last event', async () => {
    for (let round = 0; round < 20; round += 1) {
      const runId = await runWith(numbered(1));
      const finished = finishTurn(database.pool, runId, {
        terminalStatus: 'completed',
        failureKind: null,
        failureMessage: null,
      });
      let log = await read(runId, 0);
      while (!log.isClosed) log = await read(runId, 0);
      expect([seqsOf(log), log.lastSeq, log.terminalStatus]).toEqual([[1, 2], 2, 'completed']);
      await finished;
    }
  });
});
