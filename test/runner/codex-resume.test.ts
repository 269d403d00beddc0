import { afterEach, describe, expect, test } from 'vitest';
import { readThreadHistory } from '../../runner/drivers/codex/codex-history.js';
import { DriverRig } from './support/driver-rig.js';

const usage = (inputTokens: number) => ({ inputTokens, outputTokens: 10 });
const scenarios = [
  {
    name: 'counted',
    steps: [
      { usage: usage(100), toolCalls: [{ cmd: 'true' }] },
      { usage: usage(200), hold: 'middle', text: 'counted to the end' },
    ],
  },
  { name: 'note', steps: [{ usage: usage(1_000), text: 'I go on' }] },
  {
    name: 'many',
    steps: [{ repeat: 60, text: 'one of many', toolCalls: [{ cmd: 'true' }] }, { text: 'end' }],
  },
];
const fresh = { threadId: null, approvalPolicy: 'never', readHistory: false } as const;
const again = (threadId: string) => ({ threadId, approvalPolicy: 'never', readHistory: true }) as const;
const times = (text: string, part: string): number => text.split(part).length - 1;

describe('the Codex driver opens a thread of a former attempt', { timeout: 40_000 }, () => {
  let rig: DriverRig;
  afterEach(() => rig.close());

  test('kill -9 in the middle: prompt and steer are there once, the usage of the next turn is its own', async () => {
    rig = await DriverRig.open('codex', { scenarios });
    const first = await rig.driver();
    const { threadId } = await first.openThread(fresh);
    await first.prompt('cmd_one', { prompt: '[[scenario:counted]] marker-prompt' });
    await expect.poll(() => rig.model.holds().some((hold) => hold.waiting.length > 0)).toBe(true);
    await first.steer('cmd_steer', { prompt: 'marker-steer' });
    await rig.event('user_message', (payload) => payload.commandId === 'cmd_steer');
    first.kill();
    await rig.turnEnd();
    rig.events.length = 0;

    const second = await rig.driver();
    const opened = await second.openThread(again(threadId));
    expect(opened.history?.messageIds).toEqual(new Set(['cmd_one', 'cmd_steer']));
    const lastTurn = opened.history?.lastTurn;
    expect(lastTurn?.end).toMatchObject({ status: 'interrupted', failureKind: null });
    expect(lastTurn?.messageIds).toEqual(new Set(['cmd_one', 'cmd_steer']));
    expect(lastTurn?.events.map((event) => event.type)).toEqual([
      'user_message',
      'command_execution',
      'user_message',
    ]);
    expect(lastTurn?.events[0]?.at).toMatch(/^\d{4}-/);

    await second.prompt('note_run_2', { prompt: '[[scenario:note]] marker-note' });
    expect(await rig.turnEnd(2)).toMatchObject({ status: 'completed' });
    const input = rig.lastInput();
    for (const marker of ['marker-prompt', 'marker-steer', 'marker-note'])
      expect(times(input, marker)).toBe(1);
    const counted = rig.events.findLast((event) => event.type === 'usage')?.payload;
    expect(counted).toMatchObject({ inputTokens: 1_000, outputTokens: 10, totalTokens: 1_010 });
  });

  test('a turn that had ended: its end and its words are told, and nothing is sent', async () => {
    rig = await DriverRig.open('codex');
    const first = await rig.driver();
    const { threadId } = await first.openThread(fresh);
    await first.prompt('cmd_one', { prompt: '[[scenario:echo]] hello' });
    const end = await rig.turnEnd();
    first.kill();
    const requests = rig.model.requests().length;
    const { history } = await (await rig.driver()).openThread(again(threadId));
    expect(history?.lastTurn?.end).toEqual(end);
    expect(history?.lastTurn?.events.map((event) => event.type)).toEqual(['user_message', 'agent_message']);
    expect(rig.model.requests()).toHaveLength(requests);
  });

  test('a turn that had failed: its end is told with its kind', async () => {
    rig = await DriverRig.open('codex');
    const first = await rig.driver();
    const { threadId } = await first.openThread(fresh);
    await first.prompt('cmd_one', { prompt: '[[scenario:fail kind=model_not_found]] go' });
    await rig.turnEnd();
    first.kill();
    const { history } = await (await rig.driver()).openThread(again(threadId));
    expect(history?.lastTurn?.end).toMatchObject({ status: 'failed', failureKind: 'model-not-found' });
  });

  test('a compaction is no turn of ours, and the thread goes on after it', async () => {
    rig = await DriverRig.open('codex');
    const driver = await rig.driver();
    const { threadId } = await driver.openThread(fresh);
    await driver.prompt('cmd_one', { prompt: '[[scenario:echo]] hello' });
    await rig.turnEnd();
    await driver.compact();
    expect(rig.events.at(-1)).toMatchObject({
      type: 'backend_status',
      payload: { phase: 'thread-compaction', status: 'completed' },
    });
    expect(rig.model.requests().at(-1)?.requestKind).toBe('compaction');
    const { history } = await driver.openThread(again(threadId));
    expect(history?.messageIds).toEqual(new Set(['cmd_one']));
    expect(history?.lastTurn).toMatchObject({ end: { status: 'completed' } });
  });

  test('a compaction that the provider refuses is told, and the next turn is tried all the same', async () => {
    rig = await DriverRig.open('codex');
    const driver = await rig.driver();
    await driver.openThread(fresh);
    await driver.prompt('cmd_one', { prompt: '[[scenario:echo]] hello' });
    await rig.turnEnd();
    rig.proxy.closeTurn();
    await driver.compact();
    rig.proxy.openTurn();
    expect(rig.events.at(-1)?.payload).toMatchObject({ phase: 'thread-compaction', status: 'failed' });
    await driver.prompt('cmd_two', { prompt: '[[scenario:echo]] hello' });
    expect(await rig.turnEnd(2)).toMatchObject({ status: 'completed' });
  });

  test('a turn of more than one page', async () => {
    rig = await DriverRig.open('codex', { scenarios });
    const driver = await rig.driver();
    const { threadId } = await driver.openThread(fresh);
    await driver.prompt('cmd_zero', { prompt: '[[scenario:echo]] before' });
    await rig.turnEnd();
    await driver.prompt('cmd_one', { prompt: '[[scenario:many]] go' });
    await rig.turnEnd(2);
    const { history } = await driver.openThread(again(threadId));
    expect(history?.messageIds).toEqual(new Set(['cmd_zero', 'cmd_one']));
    expect(history?.lastTurn?.messageIds).toEqual(new Set(['cmd_one']));
    const events = history?.lastTurn?.events ?? [];
    expect(events).toHaveLength(122);
    expect(events[0]).toMatchObject({ type: 'user_message', payload: { commandId: 'cmd_one' } });
    expect(events.at(-1)).toMatchObject({ type: 'agent_message', payload: { text: 'end' } });
  });
});

describe('readThreadHistory', () => {
  /** A thread of one turn with so many items, the prompt the oldest of them. */
  function thread(count: number) {
    const pages: number[] = [];
    const request = (method: string, params: unknown): Promise<unknown> => {
      if (method === 'thread/turns/list')
        return Promise.resolve({ data: [{ id: 't', status: 'completed', error: null }], nextCursor: null });
      const cursor = JSON.stringify(params).match(/"cursor":(\d+)/)?.[1];
      const from = Number(cursor ?? count);
      pages.push(from);
      const data = Array.from({ length: Math.min(100, from) }, (_, at) => {
        const index = from - at - 1;
        const item =
          index === 0
            ? { type: 'userMessage', id: 'u', clientId: 'cmd_one', content: [] }
            : { type: 'agentMessage', id: `m${index}`, text: `${index}` };
        return { turnId: 't', item };
      });
      return Promise.resolve({ data, nextCursor: from > 100 ? from - 100 : null });
    };
    return { pages, request };
  }

  test('tells the newest 2,000 items of a long turn, and how many it left off', async () => {
    const { request } = thread(3_000);
    const { history } = await readThreadHistory(request, 'thread', '/w');
    expect(history.truncated).toBe(false);
    expect(history.messageIds).toEqual(new Set(['cmd_one']));
    const events = history.lastTurn?.events ?? [];
    expect(events[0]?.payload).toEqual({ phase: 'thread-history-truncated', omittedItems: 1_000 });
    expect(events[1]?.payload).toMatchObject({ text: '1000' });
    expect(events.at(-1)?.payload).toMatchObject({ text: '2999' });
  });

  test('stops at 20,000 items; what is not known is not claimed', async () => {
    const { pages, request } = thread(50_000);
    const { history } = await readThreadHistory(request, 'thread', '/w');
    expect(history.truncated).toBe(true);
    expect(pages).toHaveLength(200);
    expect(history).toEqual({ messageIds: null, truncated: true, lastTurn: null });
  });

  test('stops at 20,000 items; a last turn that lies within them is known', async () => {
    const older = thread(50_000);
    const newest = { type: 'userMessage', id: 'n', clientId: 'cmd_two', content: [] };
    const request = async (method: string, params: unknown): Promise<unknown> => {
      const page = await older.request(method, params);
      const first = method === 'thread/items/list' && older.pages.length === 1;
      if (!first || typeof page !== 'object' || page === null || !('data' in page)) return page;
      return {
        ...page,
        data: [{ turnId: 'newer', item: newest }, ...(Array.isArray(page.data) ? page.data : [])],
      };
    };
    const { history } = await readThreadHistory(request, 'thread', '/w');
    expect(history.truncated).toBe(true);
    expect(history.messageIds).toEqual(new Set(['cmd_two']));
  });

  test('an answer of another shape is an error: without the history nobody knows what was delivered', async () => {
    await expect(readThreadHistory(() => Promise.resolve({}), 'thread', '/w')).rejects.toThrow();
  });
});
