import { createServer } from 'node:http';
import { Duplex } from 'node:stream';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../../api/app.js';
import { adminToken, startApi } from '../../support/api.js';
import { postEvents, type ServingRunner, startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import { lastSeqOf, runStream } from '../support/streams.js';

const { api, database } = await useApi();
const slowMs = 300;
const impatient = await startApi(database, {
  streamLimits: { slowMs, bufferBytes: 65_536, keepaliveMs: 50 },
});
afterAll(() => impatient.stop());

/**
 * A connection without the buffers of two kernels, which takes this many bytes in a millisecond: all that waits at once as one piece, as a socket does.
 * Answers what has come.
 */
function connectSlowly(runner: ServingRunner, bytesPerMs: number) {
  let received = '';
  const taken = (text: string, done: () => void) => {
    setTimeout(
      () => {
        received += text;
        done();
      },
      bytesPerMs === 0 ? 2 ** 31 - 1 : text.length / bytesPerMs,
    ).unref();
  };
  const connection = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => taken(chunk.toString(), done),
    writev: (chunks, done) => taken(chunks.map(({ chunk }) => String(chunk)).join(''), done),
  });
  createServer(createApp(impatient.deps)).emit('connection', connection);
  connection.push(
    `GET ${runStream(runner)} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer ${adminToken}\r\n\r\n`,
  );
  return { connection, received: () => received };
}

async function turnWithLargeEvent(): Promise<ServingRunner> {
  const runner = await startTurn(api);
  const lines = [900_000, 10].map((length, index) => ({
    seq: index + 1,
    event: { type: 'agent_message', payload: { text: 'x'.repeat(length) } },
  }));
  expect((await postEvents(api, runner, lines)).status).toBe(200);
  return runner;
}

describe('a slow reader', () => {
  it('gets past a large event as long as it takes some of it', async () => {
    const runner = await turnWithLargeEvent();
    const last = await lastSeqOf(database, runner.runId);
    // Five times as long as it may take nothing.
    const { connection, received } = connectSlowly(runner, 900_000 / (5 * slowMs));
    await vi.waitFor(() => expect(received()).toContain('event: caught-up'), { timeout: 10_000 });
    const text = received().replaceAll(/\r\n[0-9a-f]+\r\n/g, '');
    connection.destroy();
    expect(text).toContain('"xxxxxxxxxx"');
    expect(text).toContain('x'.repeat(900_000));
    expect(text.match(/^id: \d+$/gm)).toHaveLength(last);
    expect(text).not.toContain('rotated');
  });

  it('is cut off when it takes nothing', async () => {
    const { connection } = connectSlowly(await turnWithLargeEvent(), 0);
    const cut = 'agentrun_streams_ended_total{operation="streamRun",reason="slow"} 1\n';
    await vi.waitFor(
      async () => expect(await impatient.deps.metrics.process.registry.metrics()).toContain(cut),
      { timeout: 5_000 },
    );
    expect(connection.destroyed).toBe(true);
  });
});
