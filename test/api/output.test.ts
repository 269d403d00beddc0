import { describe, expect, it } from 'vitest';
import { eventPageSchema, eventTypes, outputPageSchema } from '../../contract/events.js';
import { transcriptText } from '../../domain/transcript.js';
import { finishTurn } from '../../store/turn-steps.js';
import { postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const output = (runner: ServingRunner, query = '') =>
  api.data(outputPageSchema, 'GET', `/api/v1/sessions/${runner.sessionId}/output?${query}`);
const post = (runner: ServingRunner, from: number, events: readonly unknown[]) =>
  postEvents(
    api,
    runner,
    events.map((event, index) => ({ seq: from + index, event })),
  );
const message = (text: string) => ({ type: 'agent_message', payload: { itemId: text, text } });
const note = (phase: string) => ({ type: 'backend_status', payload: { phase } });
const command = (status: string, exitCode: number | null) => ({
  type: 'command_execution',
  payload: { itemId: 'c', command: 'make', cwd: null, status, exitCode, output: 'bad', durationMs: 5 },
});

describe('output', () => {
  it('is the transcript: what has ended and reads as text, with its text', async () => {
    const runner = await startTurn(api);
    await post(runner, 1, [message('hello'), command('inProgress', null), note('x')]);
    expect((await output(runner)).items.map((item) => item.text)).toEqual(['agent> hello']);
    await post(runner, 4, [command('failed', 2)]);
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'completed',
      failureKind: null,
      failureMessage: null,
    });
    const page = await output(runner);
    expect(page.items.map((item) => item.text)).toEqual([
      'agent> hello',
      '$ make\n  bad\n  (exit code 2)',
      '■ turn completed',
    ]);
    const trace = await api.data(
      eventPageSchema,
      'GET',
      `/api/v1/sessions/${runner.sessionId}/trace?limit=1000`,
    );
    expect(trace.items.length).toBe(trace.lastSeq);
    const { items, ...rest } = page;
    expect(rest).toEqual({ ...trace, items: undefined });
    // An old client finds each item as the event that it is.
    for (const { text, ...event } of items) {
      expect(text).not.toBe('');
      expect(event).toEqual(trace.items.find(({ seq }) => seq === event.seq));
    }
  });

  it('selects exactly the events that have a text', async () => {
    const runner = await startTurn(api);
    const payloads = [
      {},
      { status: 'inProgress' },
      { status: 'completed' },
      { status: null },
      { phase: 'attempt-ended' },
      { phase: 'boot' },
    ];
    const events = eventTypes
      // These two change records, and have to fit.
      .filter((type) => !['terminal_status', 'approval_requested', 'approval_resolved'].includes(type))
      .flatMap((type) => payloads.map((payload) => ({ type, payload })));
    expect((await post(runner, 1, events)).status).toBe(200);
    const path = `/api/v1/sessions/${runner.sessionId}/trace?limit=1000`;
    const trace = await api.data(eventPageSchema, 'GET', path);
    const expected = trace.items.filter((event) => transcriptText(event) !== '').map(({ seq }) => seq);
    expect(expected.length).toBeGreaterThan(10);
    expect((await output(runner, 'limit=1000')).items.map(({ seq }) => seq)).toEqual(expected);
  });

  it('pages to its end: no page is empty while there is more, and the last one says so', async () => {
    const runner = await startTurn(api);
    await post(
      runner,
      1,
      [1, 2, 3, 4].flatMap((number) => [message(`m${number}`), note('a'), note('b'), note('c')]),
    );
    const pages: string[][] = [];
    for (let afterSeq = 0, hasMore = true; hasMore; ) {
      const page = await output(runner, `limit=2&afterSeq=${afterSeq}`);
      pages.push(page.items.map((item) => item.text));
      afterSeq = page.items.at(-1)?.seq ?? afterSeq;
      hasMore = page.hasMore;
    }
    expect(pages).toEqual([
      ['agent> m1', 'agent> m2'],
      ['agent> m3', 'agent> m4'],
    ]);
  });

  it('waits for the next thing that reads as text, not for any event', async () => {
    const runner = await startTurn(api);
    const first = await output(runner);
    const poll = output(runner, `afterSeq=${first.lastSeq}&waitMs=20000`);
    await post(runner, 1, [note('a'), command('inProgress', null)]);
    await post(runner, 3, [message('at last')]);
    expect((await poll).items.map((item) => item.text)).toEqual(['agent> at last']);
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: null,
    });
    const { lastSeq } = await output(runner);
    expect(await output(runner, `afterSeq=${lastSeq}&waitMs=20000`)).toMatchObject({
      items: [],
      terminal: true,
      hasMore: false,
    });
  });
});
