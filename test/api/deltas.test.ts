import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { LiveTexts } from '../../api/streams/delta-tails.js';
import { Presence } from '../../api/streams/presence.js';
import { deltaLimits, deltasAnswerSchema } from '../../contract/deltas.js';
import { commandPageSchema, leaseAnswerSchema } from '../../contract/runners.js';
import { readDeltas, trimDeltas } from '../../store/deltas.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { saveWatched, watcherTtlMs } from '../../store/watchers.js';
import { attemptSettings } from '../support/api.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();
const { pool } = database;
const { logger, notifier } = api.deps;

const piece = (itemId: string, offset: number, text: string) => ({ itemId, offset, text });
const sendDeltas = ({ runId, runToken }: ServingRunner, deltas: readonly unknown[], after = 0) =>
  api.call('POST', `/api/v1/runs/${runId}/deltas`, { token: runToken, body: { after, deltas } });
const answerOf = async (sent: ReturnType<typeof sendDeltas>) => {
  const { status, body, text } = await sent;
  if (status !== 200) throw new Error(text);
  return deltasAnswerSchema.parse(body.data);
};
const look = async ({ runId }: ServingRunner, after = 0) =>
  (await readDeltas(pool, [{ runId, after }], 1_000_000)).pieces;
const poll = ({ runId, runToken }: ServingRunner, watched: boolean, waitMs = 20_000) =>
  api.data(
    commandPageSchema,
    'GET',
    `/api/v1/runs/${runId}/commands?afterSeq=1&waitMs=${waitMs}&watched=${watched}`,
    { token: runToken },
  );
const beat = ({ runId, runnerId, runToken }: ServingRunner) =>
  api.data(leaseAnswerSchema, 'PATCH', `/api/v1/runs/${runId}/lease`, {
    token: runToken,
    body: { runnerId, leaseMs: 60_000 },
  });
const watch = ({ runId }: ServingRunner) => saveWatched(pool, 'another-process', [runId]);

describe('live text of a run', () => {
  it('is kept in order for who watches, and not at all while nobody does', async () => {
    const runner = await startTurn(api);
    expect(await answerOf(sendDeltas(runner, [piece('msg', 0, 'I ')]))).toEqual({
      accepted: 0,
      watched: false,
    });
    expect(await look(runner)).toEqual([]);
    await watch(runner);
    const deltas = [piece('msg', 0, 'I '), piece('msg', 2, 'look '), piece('rs', 0, 'hm ')];
    expect(await answerOf(sendDeltas(runner, deltas))).toEqual({ accepted: 3, watched: true });
    await sendDeltas(runner, [piece('msg', 7, 'around ')]);
    const kept = await look(runner);
    expect(kept).toMatchObject([...deltas, piece('msg', 7, 'around ')]);
    expect(kept.map(({ over }) => over)).toEqual([false, false, false, false]);
    expect(await look(runner, kept[2]?.deltaId)).toMatchObject([piece('msg', 7, 'around ')]);
  });

  it.each([
    { title: 'many pieces', count: 1_500, length: 1 },
    { title: 'long ones', count: 70, length: 16_384 },
  ])(
    'of which $title were kept in the last minute is not kept, and is still watched',
    async ({ count, length }) => {
      const runner = await startTurn(api);
      await watch(runner);
      await pool.query(
        `insert into event_deltas (run_id, item_id, text_offset, text, log_seq)
       select $1, 'msg', n, repeat('x', $3), 1 from generate_series(1, $2::int) n`,
        [runner.runId, count, length],
      );
      const more = () => answerOf(sendDeltas(runner, [piece('msg', 0, 'more ')]));
      expect(await more()).toEqual({ accepted: 0, watched: true });
      await pool.query(`update event_deltas set at = now() - interval '61 seconds' where run_id = $1`, [
        runner.runId,
      ]);
      expect(await more()).toEqual({ accepted: 1, watched: true });
    },
  );

  it('is over with the event of its item, and with the attempt', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    await sendDeltas(runner, [piece('item-1', 0, 'message '), piece('item-2', 0, 'other ')]);
    await postEvents(api, runner, messageLines(1, 1));
    expect((await look(runner)).map(({ itemId, over }) => [itemId, over])).toEqual([
      ['item-1', true],
      ['item-2', false],
    ]);
    await postEvents(api, runner, [{ seq: 2, event: { type: 'attempt_started', payload: {} } }]);
    expect((await look(runner)).map(({ over }) => over)).toEqual([true, true]);
  });

  it('is dropped when the log has later events of the runner than it knew: its item may have ended', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    await postEvents(api, runner, messageLines(1, 2));
    const late = [piece('item-2', 0, 'mess ')];
    expect(await answerOf(sendDeltas(runner, late, 1))).toEqual({ accepted: 0, watched: true });
    expect(await answerOf(sendDeltas(runner, [piece('item-3', 0, 'next ')], 2))).toMatchObject({
      accepted: 1,
    });
  });

  it('is refused of an attempt that was replaced, and of a run that has ended', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    await writeAttempt(pool, attemptSettings, runner.runId, 2);
    expect(await sendDeltas(runner, [piece('msg', 0, 'late ')])).toMatchObject({
      status: 409,
      body: { failureKind: 'fenced' },
    });
    const ended = await startTurn(api);
    await watch(ended);
    await pool.query(`update runs set terminal_status = 'completed' where run_id = $1`, [ended.runId]);
    expect((await sendDeltas(ended, [piece('msg', 0, 'late ')])).status).toBe(409);
    expect([...(await look(runner)), ...(await look(ended))]).toEqual([]);
  });

  it.each([
    ['no piece', []],
    ['too many', Array.from({ length: deltaLimits.perRequest + 1 }, () => piece('msg', 0, 'x'))],
    ['a piece that is too long', [piece('msg', 0, 'x'.repeat(deltaLimits.textLength + 1))]],
    ['an item without an id', [piece('', 0, 'x')]],
    ['an offset below 0', [piece('msg', -1, 'x')]],
    ['an offset beyond every text', [piece('msg', 10_000_000, 'x')]],
    ['what Postgres cannot hold', [piece('msg', 0, 'a\0b')]],
  ])('%s is refused', async (_name, deltas) => {
    const runner = await startTurn(api);
    expect(await sendDeltas(runner, deltas)).toMatchObject({
      status: 400,
      body: { failureKind: 'schema-invalid' },
    });
  });

  it('takes only the token of its run', async () => {
    const [one, other] = [await startTurn(api), await startTurn(api)];
    expect((await sendDeltas({ ...one, runToken: other.runToken }, [piece('msg', 0, 'x ')])).status).toBe(
      403,
    );
    const asAdmin = api.call('POST', `/api/v1/runs/${one.runId}/deltas`, {
      body: { after: 0, deltas: [piece('msg', 0, 'x ')] },
    });
    expect((await asAdmin).status).toBe(403);
  });

  it('is not shown after a minute, and trimmed', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    await sendDeltas(runner, [piece('msg', 0, 'old ')]);
    await pool.query(`update event_deltas set at = at - interval '61 seconds' where run_id = $1`, [
      runner.runId,
    ]);
    expect(await look(runner)).toEqual([]);
    await sendDeltas(runner, [piece('msg', 4, 'new ')]);
    await trimDeltas(pool);
    const left = await pool.query('select text from event_deltas where run_id = $1', [runner.runId]);
    expect(left.rows).toEqual([{ text: 'new ' }]);
  });
});

describe('a look for live text', () => {
  it('is bounded in bytes, and says of which runs it has not read all', async () => {
    const runIds = await Promise.all(Array.from({ length: 10 }, async () => (await startTurn(api)).runId));
    for (const runId of runIds.slice(1))
      await pool.query(
        `insert into event_deltas (run_id, item_id, text_offset, text, log_seq)
         select $1, 'msg', n * 16384, repeat('\u20ac', 16384), 1 from generate_series(0, 299) n`,
        [runId],
      );
    await pool.query(
      `insert into event_deltas (run_id, item_id, text_offset, text, log_seq) values ($1, 'msg', 0, 'short', 1)`,
      [runIds[0]],
    );
    let known = runIds.map((runId) => ({ runId, after: 0 }));
    const first = await readDeltas(pool, known, 200_000);
    const bytes = first.pieces.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
    expect(bytes).toBeLessThan(10 * 250_000);
    expect([...first.unfinished].toSorted()).toEqual(runIds.slice(1).toSorted());
    expect(first.pieces.filter(({ runId }) => runId === runIds[0])).toHaveLength(1);
    // Read on, nothing is missing.
    const offsets: number[] = [];
    known = known.slice(1, 2);
    for (let unfinished = true; unfinished; ) {
      const page = await readDeltas(pool, known, 200_000);
      offsets.push(...page.pieces.map(({ offset }) => offset));
      known = known.map(({ runId, after }) => ({ runId, after: page.pieces.at(-1)?.deltaId ?? after }));
      unfinished = page.unfinished.length > 0;
    }
    expect(offsets).toEqual(Array.from({ length: 300 }, (_, at) => at * 16_384));
    await pool.query('delete from event_deltas');
  });

  it('finds what is new when the ids of pieces begin anew; a crash alone does not make them', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    await sendDeltas(runner, [piece('msg', 0, 'old ')]);
    const known = (await look(runner))[0]?.deltaId ?? 0;
    const found = await pool.query(
      `select relpersistence from pg_class where oid = pg_get_serial_sequence('event_deltas', 'delta_id')::regclass`,
    );
    expect(found.rows).toEqual([{ relpersistence: 'p' }]);
    await pool.query('delete from event_deltas');
    await pool.query('alter table event_deltas alter column delta_id restart with 1');
    const texts = new LiveTexts();
    texts.asking();
    texts.take([{ ...piece('msg', 0, 'old '), runId: '', deltaId: known + 1_000, logSeq: 1, over: false }]);
    for (const [at, word] of ['new ', 'text '].entries()) {
      await sendDeltas(runner, [piece('other', at * 4, word)]);
      texts.asking();
      expect(texts.take(await look(runner, texts.deltaId))).toBe(true);
      expect(texts.deltaId).toBe(at + 1);
    }
    await pool.query('alter sequence event_deltas_delta_id_seq restart with 1000000');
  });

  it('goes by the keys of its runs, also into the log', async () => {
    const runners = [await startTurn(api), await startTurn(api)];
    for (const { runId } of runners) {
      await pool.query(
        `insert into events (run_id, seq, event_id, epoch, type, at, payload)
         select $1, 100 + n, 'e' || n, 1, 'agent_message', now(), jsonb_build_object('itemId', 'x' || n, 'text', repeat('y', 300))
           from generate_series(1, 3000) n`,
        [runId],
      );
      await pool.query(
        `insert into event_deltas (run_id, item_id, text_offset, text, log_seq)
         select $1, 'm' || n % 3, n, 'text', 3000 from generate_series(1, 1000) n`,
        [runId],
      );
    }
    await pool.query('analyze events, event_deltas');
    const lines: string[] = [];
    const explained = Object.assign(Object.create(pool), {
      query: async (text: string, values: unknown[]) => {
        const { rows } = await pool.query(`explain (analyze, costs off) ${text}`, values);
        lines.push(...rows.map((row) => String(Object.values(Object(row))[0])));
        return { rows: [] };
      },
    });
    await readDeltas(explained, [{ runId: runners[0]?.runId ?? '', after: 0 }], 1_000_000);
    const scans = lines.filter(
      (line) => / on (?:events_|event_deltas)/.test(line) && !line.includes('never executed'),
    );
    expect(scans.length).toBeGreaterThan(1);
    for (const scan of scans)
      expect(scan).toMatch(/Index (?:Only )?Scan|events_default|Bitmap Heap Scan on event_deltas/);
  });
});

describe('a runner', () => {
  const presences: Presence[] = [];
  const presence = () => {
    const made = new Presence({ pool, notifier, logger });
    presences.push(made);
    return made;
  };
  afterAll(() => Promise.all(presences.map((one) => one.close())));

  it('hears at once that somebody watches, and soon that nobody does any more', async () => {
    const runner = await startTurn(api);
    const here = presence();
    const first = poll(runner, false);
    await sleep(100);
    const cameAt = performance.now();
    const [leave, leaveToo] = [here.watch(runner.runId), here.watch(runner.runId)];
    expect(await first).toMatchObject({ watched: true, items: [], open: true });
    expect(performance.now() - cameAt).toBeLessThan(1_000);
    expect(await beat(runner)).toMatchObject({ watched: true });

    leave();
    leave();
    const second = poll(runner, true);
    await sleep(100);
    leaveToo();
    expect(await second).toMatchObject({ watched: false });
    expect(performance.now() - cameAt).toBeLessThan(5_000);
    expect(await beat(runner)).toMatchObject({ watched: false });
  });

  it('is not told of a reader that comes back at once, nor of a second process', async () => {
    const runner = await startTurn(api);
    const [here, there] = [presence(), presence()];
    const leave = here.watch(runner.runId);
    there.watch(runner.runId);
    expect(await poll(runner, false)).toMatchObject({ watched: true });
    leave();
    here.watch(runner.runId);
    expect(await poll(runner, true, 3_000)).toMatchObject({ watched: true });
    await here.close();
    expect(await beat(runner)).toMatchObject({ watched: true });
    await there.close();
    expect(await beat(runner)).toMatchObject({ watched: false });
  });

  it('does not count a process that was killed for longer than its word', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    expect(await beat(runner)).toMatchObject({ watched: true });
    await pool.query(
      `update run_watchers set expires_at = expires_at - $2::int * interval '1 millisecond' where run_id = $1`,
      [runner.runId, watcherTtlMs],
    );
    expect(await beat(runner)).toMatchObject({ watched: false });
    expect(await answerOf(sendDeltas(runner, [piece('msg', 0, 'x ')]))).toMatchObject({ watched: false });
  });

  it('that says nothing of watchers waits as before', async () => {
    const runner = await startTurn(api);
    await watch(runner);
    const path = `/api/v1/runs/${runner.runId}/commands?afterSeq=1&waitMs=300`;
    const startedAt = performance.now();
    await api.data(commandPageSchema, 'GET', path, { token: runner.runToken });
    expect(performance.now() - startedAt).toBeGreaterThan(250);
  });
});

describe('who watches', () => {
  it('is said again for all runs at once, until some time after the last reader; what others left is removed', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const statements: unknown[][] = [];
    const spied = {
      query: (...asked: unknown[]) => {
        statements.push(asked);
        return Promise.resolve({ rows: [] });
      },
    };
    const here = new Presence({ pool: Object.assign(Object.create(pool), spied), notifier, logger });
    const leaves = ['run_a', 'run_b', 'run_c'].map((runId) => here.watch(runId));
    await vi.advanceTimersByTimeAsync(0);
    statements.length = 0;
    await vi.advanceTimersByTimeAsync(15_000);
    expect(statements.map(([, values]) => values)).toMatchObject([
      [expect.any(String), ['run_a', 'run_b', 'run_c'], watcherTtlMs],
      undefined,
      [60],
    ]);
    for (const leave of leaves) leave();
    await vi.advanceTimersByTimeAsync(10_000_000);
    const quiet = statements.length;
    await vi.advanceTimersByTimeAsync(10_000_000);
    expect(statements.length).toBe(quiet);
    expect(quiet).toBeLessThan(25);
    await here.close();
    vi.useRealTimers();
  });
});
