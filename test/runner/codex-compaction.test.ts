import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { FakeCodex, FakeRefusal, fakeThreadId, fakeTurnId } from './support/fake-codex.js';

const completed = { threadId: fakeThreadId, turn: { id: fakeTurnId, status: 'completed' } };

describe('a compaction and the prompt after it', () => {
  let codex: FakeCodex;
  beforeEach(() => {
    codex = new FakeCodex();
  });
  afterEach(() => {
    vi.useRealTimers();
    codex.dispose();
  });

  test('a start that is not answered: it may run, so the agent is killed', async () => {
    codex.answers['thread/compact/start'] = () => undefined;
    await codex.thread();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const compacted = codex.driver.compact();
    await vi.advanceTimersByTimeAsync(60_000);
    await compacted;
    vi.useRealTimers();
    expect(codex.signals).toEqual(['SIGKILL']);
    await expect.poll(() => codex.driver.alive).toBe(false);
  });

  test('a start that is refused: nothing runs, and the prompt is taken', async () => {
    codex.answers['thread/compact/start'] = () => new FakeRefusal(-32_600, 'nothing to compact');
    await codex.thread();
    await codex.driver.compact();
    expect(codex.signals).toEqual([]);
    await codex.driver.prompt('cmd_one', { prompt: 'go' });
    codex.userMessage('cmd_one');
    codex.notify('turn/completed', completed);
    expect(await codex.end()).toMatchObject({ status: 'completed' });
  });

  test.each(['by turn/completed', 'by the record'])(
    'a completed turn that never held the prompt is not believed, told %s',
    async (how) => {
      codex.answers['thread/turns/list'] = () => ({ data: [completed.turn], nextCursor: null });
      await codex.thread();
      await codex.driver.prompt('cmd_one', { prompt: 'go' });
      codex.userMessage('cmd_another');
      if (how === 'by the record') codex.threadStatus('idle');
      else codex.notify('turn/completed', completed);
      const end = await codex.end();
      expect(end).toMatchObject({ status: 'failed', failureKind: 'agent-error', turnId: fakeTurnId });
      expect(end?.message).toContain('without having taken the prompt');
    },
  );

  test('an interrupt before the compaction has begun is sent when it has', async () => {
    codex.answers['turn/interrupt'] = () => {
      setImmediate(() =>
        codex.notify('turn/completed', { ...completed, turn: { id: 'compaction', status: 'interrupted' } }),
      );
      return {};
    };
    await codex.thread();
    const compacted = codex.driver.compact();
    await expect.poll(() => codex.sent('thread/compact/start').length).toBe(1);
    const interrupted = codex.driver.interrupt();
    codex.notify('turn/started', { threadId: fakeThreadId, turn: { id: 'compaction' } });
    expect(await interrupted).toBe(true);
    expect(codex.sent('turn/interrupt')).toMatchObject([{ params: { turnId: 'compaction' } }]);
    await compacted;
    expect(codex.signals).toEqual([]);
  });

  test('an interrupt that the compaction refuses is not taken', async () => {
    codex.answers['turn/interrupt'] = () => new FakeRefusal(-32_603, 'no');
    await codex.thread();
    const compacted = codex.driver.compact();
    codex.notify('turn/started', { threadId: fakeThreadId, turn: { id: 'compaction' } });
    expect(await codex.driver.interrupt()).toBe(false);
    codex.exit();
    await compacted;
  });
});
