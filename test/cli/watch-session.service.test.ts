import { describe, expect, it } from 'vitest';
import { tellWaiting } from '../../cli/waiting-remarks.js';
import { type WatchFrame, type WatchOptions, watchSession } from '../../cli/watch-session.js';
import { createApiClient } from '../../client/index.js';
import { nextTurn } from '../../store/next-turn.js';
import { cancelPendingRun, finishTurn } from '../../store/turn-steps.js';
import { adminToken, attemptSettings } from '../support/api.js';
import { eventually } from '../support/local-stack.js';
import { messageLines, newSessionId, owner, postEvents, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();
const client = createApiClient({ baseUrl: api.url, token: () => adminToken });

const finish = (runId: string, terminalStatus: 'completed' | 'failed' = 'completed') =>
  finishTurn(database.pool, runId, { terminalStatus, failureKind: null, failureMessage: null });

/** A watch that goes on while the test does something; what it has shown so far, as `turn.seq type`. */
function watching(sessionId: string, more: Partial<WatchOptions> = {}) {
  const shown: string[] = [];
  const frames: WatchFrame[] = [];
  const end = watchSession({
    client,
    sessionId,
    from: null,
    follow: false,
    signal: AbortSignal.timeout(20_000),
    paceMs: 20,
    onFrames: (group) => {
      frames.push(...group);
      for (const frame of group) if (frame.frame === 'event') shown.push(`${frame.id} ${frame.data.type}`);
    },
    ...more,
  });
  const status = end.then((one) => one.status);
  // Looked at by those who expect it.
  status.catch(() => undefined);
  const shows = (text: string) =>
    eventually(text, () => (shown.some((one) => one === text) ? true : undefined));
  return { shown, frames, end, status, shows };
}

describe('watchSession', () => {
  it('shows the last turn from its beginning, and ends with its status', async () => {
    const sessionId = newSessionId();
    const first = await startTurn(api, 'one', sessionId);
    await finish(first.runId);
    const second = await startTurn(api, 'two', sessionId);
    const watch = watching(sessionId);
    await watch.shows('2.1 attempt_started');
    await postEvents(api, second, messageLines(1, 2));
    await finish(second.runId, 'failed');
    expect(await watch.status).toBe('failed');
    expect(watch.shown).toEqual([
      '2.1 attempt_started',
      '2.2 agent_message',
      '2.3 agent_message',
      '2.4 terminal_status',
    ]);
    expect(watch.frames.filter(({ frame }) => frame === 'caught-up')).toHaveLength(1);
  });

  it('goes on behind an event of a run, or of a turn, and ends where nothing is left', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 2));
    await finish(runner.runId);
    const behind = async (from: WatchOptions['from']) => {
      const watch = watching(runner.sessionId, { from });
      return [await watch.status, watch.shown];
    };
    const rest = ['completed', ['1.3 agent_message', '1.4 terminal_status']];
    expect(await behind({ runId: runner.runId, seq: 2 })).toEqual(rest);
    expect(await behind({ turn: 1, seq: 2 })).toEqual(rest);
    expect(await behind({ runId: runner.runId, seq: 4 })).toEqual(['completed', []]);
    await expect(behind({ turn: 1, seq: 5 })).rejects.toMatchObject({ failureKind: 'cursor-ahead' });
  });

  it('ends at once in a session without turns, and is refused where there is none', async () => {
    const sessionId = newSessionId();
    await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
    expect(await watching(sessionId).end).toEqual({ status: null, unshown: null });
    await expect(watching('nobody').status).rejects.toMatchObject({ failureKind: 'not-found' });
    const other = await startTurn(api);
    await expect(watching(sessionId, { from: { runId: other.runId, seq: 0 } }).status).rejects.toMatchObject({
      failureKind: 'not-found',
    });
  });

  it('goes on with the turn that waits, and ends when the last one that waits is cancelled', async () => {
    const { sessionId, runId } = await startTurn(api);
    const second = await send(api, sessionId, 'two', { whenBusy: 'queue' });
    const third = await send(api, sessionId, 'three', { whenBusy: 'queue' });
    const watch = watching(sessionId);
    await watch.shows('1.1 attempt_started');
    await finish(runId);
    await watch.shows('1.2 terminal_status');
    expect((await nextTurn(database.pool, attemptSettings, sessionId))?.runId).toBe(second.run.id);
    await finish(second.run.id);
    await watch.shows('2.1 terminal_status');
    await cancelPendingRun(database.pool, third.run.id, null);
    expect(await watch.status).toBe('completed');
  });

  it('of a run that waits shows nothing that comes before it', async () => {
    const { sessionId, runId } = await startTurn(api);
    const waits = await send(api, sessionId, 'later', { whenBusy: 'queue' });
    const cancelled = await send(api, sessionId, 'never', { whenBusy: 'queue' });
    const watch = watching(sessionId, { from: { runId: waits.run.id, seq: 0 } });
    const never = watching(sessionId, { from: { runId: cancelled.run.id, seq: 0 } });
    await finish(runId);
    await nextTurn(database.pool, attemptSettings, sessionId);
    await finish(waits.run.id, 'failed');
    await cancelPendingRun(database.pool, cancelled.run.id, null);
    expect([await watch.status, watch.shown]).toEqual(['failed', ['2.1 terminal_status']]);
    expect(await never.end).toMatchObject({ status: 'cancelled', unshown: { id: cancelled.run.id } });
    expect(never.shown).toEqual([]);
  });

  it('knows how the last turn ended when nothing of it is left to show, also of an archived session', async () => {
    const { sessionId, runId } = await startTurn(api);
    await finish(runId, 'failed');
    const from = { turn: 1, seq: 2 };
    const unshown = { id: runId, terminalStatus: 'failed' };
    expect(await watching(sessionId, { from }).end).toMatchObject({ status: 'failed', unshown });
    expect(await watching(sessionId).end).toEqual({ status: 'failed', unshown: null });
    await api.call('POST', `/api/v1/sessions/${sessionId}/archive`);
    expect(await watching(sessionId, { from }).end).toMatchObject({ status: 'failed', unshown });
  });

  it('follows until it is stopped, and ends with its session', async () => {
    const { sessionId, runId } = await startTurn(api);
    await finish(runId);
    const stop = new AbortController();
    const stopped = watching(sessionId, { follow: true, signal: stop.signal });
    const archived = watching(sessionId, { follow: true });
    await stopped.shows('1.2 terminal_status');
    const next = await startTurn(api, 'two', sessionId);
    await finish(next.runId);
    await stopped.shows('2.2 terminal_status');
    stop.abort();
    expect(await stopped.status).toBe('completed');
    await api.call('POST', `/api/v1/sessions/${sessionId}/archive`);
    expect(await archived.status).toBe('completed');
    expect(archived.frames.at(-1)).toMatchObject({ frame: 'stream-end', data: { status: 'archived' } });
  });

  it('waits for an API that is away, says so once, and loses nothing', async () => {
    const runner = await startTurn(api);
    let refusals = 0;
    const flaky = createApiClient({
      baseUrl: api.url,
      token: () => adminToken,
      fetch: (input, init) => {
        if (typeof input === 'string' && input.endsWith('/stream') && refusals < 2) {
          refusals += 1;
          return Promise.reject(new TypeError('fetch failed'));
        }
        return fetch(input, init);
      },
    });
    const remarks: string[] = [];
    const watch = watching(runner.sessionId, {
      client: flaky,
      onState: tellWaiting({ remark: (text) => remarks.push(text) }),
    });
    await finish(runner.runId);
    expect(await watch.status).toBe('completed');
    expect([remarks, watch.shown]).toEqual([
      [expect.stringMatching(/^the API does not answer \(.*no connection.*\); waiting$/), 'the API is back'],
      ['1.1 attempt_started', '1.2 terminal_status'],
    ]);
  });
});
