import { createServer } from 'node:http';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { DriverRig } from './support/driver-rig.js';
import { FakeCodex, FakeRefusal, fakeThreadId, fakeTurnId } from './support/fake-codex.js';

const recorded = (status: string, error: unknown = null) => ({
  data: [
    { id: 'turn-2', status: 'inProgress', error: null },
    { id: fakeTurnId, status, error },
  ],
  nextCursor: null,
});
const completed = (status: string) => ({ threadId: fakeThreadId, turn: { id: fakeTurnId, status } });

describe('a turn/completed that never comes', () => {
  let codex: FakeCodex;

  beforeEach(() => {
    codex = new FakeCodex();
  });
  afterEach(() => codex.dispose());

  test.each([
    ['completed', null, { status: 'completed', failureKind: null }],
    ['interrupted', null, { status: 'interrupted', failureKind: null }],
    [
      'failed',
      { message: 'no model', codexErrorInfo: 'modelNotFound' },
      { status: 'failed', failureKind: 'model-not-found', provider: { evidence: 'agent' } },
    ],
  ])('idle, and the record says %s', async (status, error, expected) => {
    codex.answers['thread/turns/list'] = () => recorded(status, error);
    await codex.turn();
    codex.threadStatus('idle');
    expect(await codex.end()).toMatchObject({ ...expected, turnId: fakeTurnId });
    expect(codex.sent('turn/interrupt')).toEqual([]);
    expect(codex.signals).toEqual([]);
  });

  test('idle, and the record says in progress: interrupted, and the end says so', async () => {
    codex.answers['thread/turns/list'] = () => recorded('inProgress');
    codex.answers['turn/interrupt'] = () => {
      setImmediate(() => codex.notify('turn/completed', completed('interrupted')));
      return {};
    };
    await codex.turn();
    codex.threadStatus('idle');
    const end = await codex.end();
    expect(end).toMatchObject({ status: 'failed', failureKind: 'agent-error' });
    expect(end?.message).toContain('it was interrupted');
    expect(codex.signals).toEqual([]);
  });

  test.each([
    ['keeps saying in progress', () => recorded('inProgress')],
    ['knows nothing of the turn', () => ({ data: [], nextCursor: null })],
  ])('idle, and the record %s, whatever is done: the agent is killed', async (_name, record) => {
    codex.answers['thread/turns/list'] = record;
    await codex.turn();
    codex.threadStatus('systemError');
    expect(await codex.end()).toMatchObject({ status: 'failed', failureKind: 'agent-error' });
    expect(codex.sent('turn/interrupt')).toHaveLength(1);
    expect(codex.signals).toEqual(['SIGKILL']);
    await expect.poll(() => codex.driver.alive).toBe(false);
    expect(codex.ends).toHaveLength(1);
  });

  test('idle for a moment is not the end', async () => {
    await codex.turn();
    codex.answers['thread/turns/list'] = () => recorded('completed');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      codex.threadStatus('idle');
      codex.threadStatus('active');
      await vi.advanceTimersByTimeAsync(60_000);
    } finally {
      vi.useRealTimers();
    }
    expect(codex.ends).toEqual([]);
    codex.notify('turn/completed', completed('completed'));
    expect(await codex.end()).toMatchObject({ status: 'completed' });
    expect(codex.sent('thread/turns/list')).toEqual([]);
  });

  test('an interrupt that is answered and has no consequence: the record, and at last a kill', async () => {
    codex.answers['thread/turns/list'] = () => recorded('inProgress');
    await codex.turn();
    expect(await codex.driver.interrupt()).toBe(true);
    expect(await codex.driver.interrupt()).toBe(true);
    expect(await codex.end()).toMatchObject({ status: 'interrupted', turnId: fakeTurnId });
    expect(codex.sent('turn/interrupt')).toHaveLength(1);
    expect(codex.signals).toEqual(['SIGKILL']);
  });

  test('an interrupt before the turn has an id is sent when it has one, however long that takes', async () => {
    codex.answers['turn/start'] = () => undefined;
    await codex.thread();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const begun = codex.driver.prompt('cmd_one', { prompt: 'go' });
      const interrupted = codex.driver.interrupt();
      await vi.advanceTimersByTimeAsync(20_000);
      expect(codex.sent('turn/interrupt')).toEqual([]);
      codex.notify('turn/started', { threadId: fakeThreadId, turn: { id: fakeTurnId } });
      await vi.advanceTimersByTimeAsync(200);
      expect(await interrupted).toBe(true);
      expect(codex.sent('turn/interrupt')).toHaveLength(1);
      codex.exit();
      await expect(begun).rejects.toThrow('the agent process ended');
    } finally {
      vi.useRealTimers();
    }
  });

  test('interrupt and cleanUp say so when the agent refuses, every time', async () => {
    codex.answers['turn/interrupt'] = () => new FakeRefusal(-32_603, 'no');
    codex.answers['thread/backgroundTerminals/clean'] = () => new FakeRefusal(-32_603, 'no');
    await codex.turn();
    expect(await codex.driver.interrupt()).toBe(false);
    expect(codex.sent('turn/interrupt')).toHaveLength(10);
    expect(await codex.driver.cleanUp()).toBe(false);
    codex.answers['thread/backgroundTerminals/clean'] = () => ({});
    expect(await codex.driver.cleanUp()).toBe(true);
    codex.exit();
    expect(await codex.driver.cleanUp()).toBe(false);
  });

  test('every notification is activity, also deltas, progress and what is unknown', async () => {
    await codex.turn();
    const before = codex.notifications;
    const where = { threadId: fakeThreadId, turnId: fakeTurnId, itemId: 'i', delta: 'x' };
    codex.notify('item/reasoning/textDelta', where);
    codex.notify('item/commandExecution/outputDelta', where);
    codex.notify('item/mcpToolCall/progress', { ...where, message: 'm' });
    codex.notify('something/new', { threadId: 'another thread' });
    expect(codex.notifications - before).toBe(4);
    expect(codex.ends).toEqual([]);
  });

  test('only what the proxy saw of this turn counts', async () => {
    codex.observation = {
      path: '/v1/responses',
      status: 401,
      model: null,
      usage: null,
      errorCode: 'invalid_api_key',
      errorMessage: null,
      resetAtMs: null,
      ended: 'complete',
      durationMs: 1,
    };
    await codex.turn();
    const error = { message: 'boom', codexErrorInfo: 'other' };
    codex.notify('turn/completed', {
      threadId: fakeThreadId,
      turn: { id: fakeTurnId, status: 'failed', error },
    });
    expect(await codex.end()).toMatchObject({ failureKind: 'agent-error', provider: null });
  });
});

/** Two waits of the proxy and the agent's own pauses, far below the hours that a socket may stay open. */
describe('a dead network, with a real Codex', { timeout: 40_000 }, () => {
  const timings = { connectMs: 500, headersMs: 500, compactionMs: 500, silenceMs: 500, clientMs: 5_000 };

  test.each([
    ['accepts requests and never answers', undefined],
    ['begins answers and says no more', 'data: {"type":"response.created","response":{"id":"r"}}\n\n'],
  ])('a provider that %s ends the turn as disconnected', async (_name, beginning) => {
    const upstream = createServer((request, response) => {
      request.resume();
      if (beginning === undefined) return;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(beginning);
    });
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const address = upstream.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const rig = await DriverRig.open('codex', { upstreamUrl: `http://127.0.0.1:${port}/v1`, timings });
    try {
      const driver = await rig.driver();
      await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
      await driver.prompt('cmd_one', { prompt: 'go' });
      expect(await rig.turnEnd()).toMatchObject({
        status: 'failed',
        failureKind: 'provider-disconnected',
        provider: { evidence: 'both' },
      });
    } finally {
      await rig.close();
      upstream.closeAllConnections();
      upstream.close();
    }
  });
});
