import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { adminToken, apiTokens, startApi } from '../../support/api.js';
import { type ApiProcess, startApiProcess } from '../../support/api-process.js';
import { openStream, type StreamReader } from '../../support/stream-reader.js';
import { newSessionId, owner, type ServingRunner, startTurn } from '../../support/turns.js';
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

// The writer is this process, the readers are on others.
const { api, database } = await useApi();
const started: ApiProcess[] = [];
afterAll(() => Promise.all(started.map((process) => process.kill())));

async function start(env: Record<string, string>, more = {}): Promise<ApiProcess> {
  const process = await startApiProcess({ database, keySet: api.keySet, env, ...more });
  started.push(process);
  return process;
}

const sample = async (process: ApiProcess, line: string) => (await process.metrics()).includes(`${line}\n`);
const token = (name: string) => apiTokens.find((known) => known.name === name)?.token ?? '';

describe('a connection', () => {
  it('says that it lives while nothing happens', async () => {
    const process = await start({ AGENTRUN_STREAM_KEEPALIVE_MS: '200' });
    const reader = await openStream(process.url, runStream(await turnWithEvents(api, 1)));
    await reader.untilTrue((frames) => frames.filter(({ frame }) => frame === 'keepalive').length >= 3);
    expect(namesOf(reader.frames)).toEqual(['event', 'caught-up', 'keepalive']);
    expect(reader.frames.at(-1)).toEqual({ frame: 'keepalive', id: null, data: {} });
    await reader.close();
    // The same for one that waits for a first turn.
    const sessionId = newSessionId();
    await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
    const waiting = await openStream(process.url, sessionStream({ sessionId }));
    await waiting.until('keepalive');
    await waiting.close();
  });

  it('is rotated at its age, and the next one goes on where it was', async () => {
    const process = await start({ AGENTRUN_STREAM_MAX_AGE_MS: '500' });
    const runner = await turnWithEvents(api, 2);
    const first = await openStream(process.url, runStream(runner));
    expect(await first.over).toBe(true);
    expect(first.frames.at(-1)).toEqual({ frame: 'rotated', id: null, data: { reason: 'age' } });
    await post(api, runner, 3, 4);
    const headers = { 'last-event-id': first.ids().at(-1) ?? '' };
    const second = await openStream(process.url, runStream(runner), { headers });
    expect(await second.over).toBe(true);
    const last = await lastSeqOf(database, runner.runId);
    expect([...first.ids(), ...second.ids()]).toEqual(idsFrom(1, last));
  });

  it('ends when its token is not good any more, and others go on', async () => {
    const process = await start({ AGENTRUN_STREAM_KEEPALIVE_MS: '200' });
    const runner = await turnWithEvents(api, 1);
    const reader = await openStream(process.url, runStream(runner), { token: token('acme') });
    const admins = await openStream(process.url, runStream(runner));
    await reader.until('keepalive');
    const tokens = z
      .array(z.looseObject({ name: z.string() }))
      .parse(JSON.parse(readFileSync(process.tokensFile, 'utf8')));
    writeFileSync(process.tokensFile, JSON.stringify(tokens.filter(({ name }) => name !== 'acme')));
    expect(await reader.over).toBe(true);
    expect(reader.frames.at(-1)).toEqual({
      frame: 'error',
      id: null,
      data: { failureKind: 'unauthorized', message: 'the token of this stream is not good any more' },
    });
    await post(api, runner, 2, 2);
    await admins.untilTrue(() => admins.ids().length === reader.ids().length + 1);
    await admins.close();
    expect(process.log()).not.toContain(token('acme'));
    expect(process.log()).not.toContain(adminToken);
  });
});

describe('what a stream costs before it is open', () => {
  it('is nothing when it is refused for its caps', async () => {
    const capped = await startApi(database, { streamLimits: { perToken: 1 } });
    const runner = await turnWithEvents(api, 1);
    const reader = await openStream(capped.url, runStream(runner));
    await reader.until('caught-up');
    expect(reader.headers.connection).toBe('close');
    const asked = vi.spyOn(database.pool, 'query');
    const paths = [runStream(runner), sessionStream(runner), '/api/v1/feed'];
    for (const path of paths) expect((await openStream(capped.url, path)).status).toBe(429);
    const statements = JSON.stringify(asked.mock.calls);
    asked.mockRestore();
    expect(statements).not.toMatch(
      /from (sessions s where s\.session_id = \$1|runs r .*where r\.run_id = \$1)/,
    );
    expect(statements).not.toContain('pg_snapshot_xmin');
    await reader.close();
    await capped.stop();
  });

  it('is a few statements at a time', async () => {
    const runner = await turnWithEvents(api, 1);
    const many = await startApi(database, { streamLimits: { perRun: 50 } });
    const query = database.pool.query.bind(database.pool);
    let [running, most] = [0, 0];
    const counted = async (...asked: unknown[]): Promise<unknown> => {
      const isFirst = String(asked[0]).includes('where r.run_id = $1 and ($2::text is null');
      running += isFirst ? 1 : 0;
      most = Math.max(most, running);
      try {
        // As from a Postgres further away, so that all meet.
        if (isFirst) await sleep(50);
        const answer: unknown = await Reflect.apply(query, undefined, asked);
        return answer;
      } finally {
        running -= isFirst ? 1 : 0;
      }
    };
    Object.defineProperty(database.pool, 'query', { configurable: true, value: counted });
    const readers = await Promise.all(
      Array.from({ length: 30 }, () => openStream(many.url, runStream(runner))),
    );
    Reflect.deleteProperty(database.pool, 'query');
    expect(readers.map(({ status }) => status)).toEqual(readers.map(() => 200));
    expect(most).toBe(4);
    await Promise.all(readers.map((reader) => reader.close()));
    await many.stop();
  });
});

describe('a process that stops', () => {
  it('is not ready first', async () => {
    const leaving = await startApi(database);
    afterAll(() => leaving.stop());
    expect((await leaving.call('GET', '/readyz')).status).toBe(200);
    leaving.leave();
    const { status, body } = await leaving.call('GET', '/readyz');
    expect([status, body.data]).toEqual([503, expect.objectContaining({ ready: false })]);
    expect((await leaving.call('GET', '/health/live')).status).toBe(200);
  });

  it('serves on for its delay, and then sends its readers elsewhere', async () => {
    const process = await start({ AGENTRUN_SHUTDOWN_DELAY_MS: '1500' });
    const runner = await turnWithEvents(api, 1);
    const session = await openStream(process.url, sessionStream(runner));
    const run = await openStream(process.url, runStream(runner));
    const readers = [session, run];
    for (const reader of readers) await reader.until('caught-up');
    const stopped = process.stop();
    await vi.waitFor(() => expect(process.log()).toContain('"msg":"stopping"'));
    await post(api, runner, 2, 2);
    const last = await lastSeqOf(database, runner.runId);
    await run.untilTrue(() => run.ids().at(-1) === String(last));
    for (const reader of readers) {
      expect(await reader.over).toBe(true);
      expect(reader.frames.at(-1)).toEqual({ frame: 'rotated', id: null, data: { reason: 'shutdown' } });
    }
    expect(await stopped).toBe(0);
    expect(run.ids()).toEqual(idsFrom(1, last));
  });
});

describe('how many streams there may be', async () => {
  const process = await start({
    AGENTRUN_STREAMS_PER_PROCESS: '5',
    AGENTRUN_STREAMS_PER_RUN: '2',
    AGENTRUN_STREAMS_PER_TOKEN: '3',
  });
  const runs: ServingRunner[] = [];
  for (let count = 0; count < 4; count += 1) runs.push(await startTurn(api));
  const open = (at: number, name: string) =>
    openStream(process.url, runStream(runs[at] ?? { runId: '' }), { token: token(name) });
  const outcome = ({ status, headers }: StreamReader) => [status, headers['retry-after']];
  const closeAll = (readers: readonly StreamReader[]) => Promise.all(readers.map((reader) => reader.close()));
  const allReleased = () =>
    vi.waitFor(
      async () => expect(await sample(process, 'agentrun_streams_open{operation="streamRun"} 0')).toBe(true),
      {
        timeout: 5_000,
      },
    );

  it('is limited for a run', async () => {
    const readers = [await open(0, 'admin'), await open(0, 'reader')];
    expect(readers.map(({ status }) => status)).toEqual([200, 200]);
    expect(outcome(await open(0, 'acme'))).toEqual([429, '5']);
    const elsewhere = await open(1, 'acme');
    expect(elsewhere.status).toBe(200);
    await closeAll([...readers, elsewhere]);
    await allReleased();
  });

  it('is limited for a token', async () => {
    const readers = [await open(0, 'acme'), await open(1, 'acme'), await open(2, 'acme')];
    expect(readers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(outcome(await open(3, 'acme'))).toEqual([429, '5']);
    const others = await open(3, 'admin');
    expect(others.status).toBe(200);
    await closeAll([...readers, others]);
    await allReleased();
  });

  it('is limited for a process', async () => {
    const readers = [
      await open(0, 'acme'),
      await open(1, 'acme'),
      await open(2, 'acme'),
      await open(0, 'admin'),
      await open(1, 'admin'),
    ];
    expect(readers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(outcome(await open(3, 'reader'))).toEqual([503, '5']);
    // What asks for no stream is answered all the same.
    expect((await fetch(`${process.url}/health/live`)).status).toBe(200);
    await closeAll(readers);
    await allReleased();
  });

  it('counts none that has ended, however it did', async () => {
    const runner = await turnWithEvents(api, 1);
    await endRun(database, runner.runId);
    for (let count = 0; count < 7; count += 1) {
      const ended = await openStream(process.url, runStream(runner), { token: token('acme') });
      expect([ended.status, await ended.over]).toEqual([200, true]);
      const head = await fetch(`${process.url}${runStream(runs[0] ?? runner)}`, {
        method: 'HEAD',
        headers: { authorization: `Bearer ${token('acme')}` },
      });
      expect(head.status).toBe(200);
      const refused = await openStream(process.url, runStream(runner, '?after=9999'), {
        token: token('acme'),
      });
      expect(refused.status).toBe(409);
    }
    await allReleased();
    expect(await sample(process, 'agentrun_streams_ended_total{operation="streamRun",reason="end"} 7')).toBe(
      true,
    );
    const readers = [await open(0, 'acme'), await open(1, 'acme'), await open(2, 'acme')];
    expect(readers.map(({ status }) => status)).toEqual([200, 200, 200]);
    await closeAll(readers);
  });
});
