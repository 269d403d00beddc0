import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { createApiClient } from '../../../client/index.js';
import type { RunEvent } from '../../../contract/events.js';
import { routes } from '../../../contract/routes/index.js';
import { adminToken } from '../../support/api.js';
import { startApiProcess } from '../../support/api-process.js';
import { seededRandom } from '../../support/seeded.js';
import { type Cut, cutAfterBytes, cutAfterEvents, startTcpProxy } from '../../support/tcp-proxy.js';
import { type ServingRunner, startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import { endRun, post, storedEvents } from '../support/streams.js';

// The writer is this process, the readers are on another, each behind a proxy of its own that cuts its connections.
const { api, database } = await useApi();
const other = await startApiProcess({
  database,
  keySet: api.keySet,
  env: { AGENTRUN_STREAMS_PER_RUN: '500', AGENTRUN_STREAMS_PER_TOKEN: '1000' },
});
afterAll(() => other.stop());

const readLimitMs = 50_000;

/** What a reader has seen until the end of the run. */
interface Joined {
  readonly name: string;
  readonly events: readonly RunEvent[];
  /** Every `stream-end`. */
  readonly ends: readonly string[];
  readonly connections: number;
}

/** Reads a run through a proxy; the nth connection is cut as the nth of `cuts` says, those behind the last are not. */
async function readCut(name: string, runId: string, cuts: readonly Cut[]): Promise<Joined> {
  const proxy = await startTcpProxy({
    target: () => Number(new URL(other.url).port),
    cutOf: (connection) => cuts[connection],
  });
  const events: RunEvent[] = [];
  const ends: string[] = [];
  const signal = AbortSignal.timeout(readLimitMs);
  try {
    const client = createApiClient({ baseUrl: proxy.url, token: () => adminToken });
    const budget = { attemptsInARow: 20, attemptsInAll: 200 };
    for await (const frame of client.stream(routes.streamRun, { params: { runId } }, { signal, budget })) {
      if (frame.frame === 'event') events.push(frame.data);
      if (frame.frame === 'stream-end') ends.push(frame.data.status);
      if (frame.frame === 'gap') throw new Error(`${name}: ${JSON.stringify(frame)}`);
    }
    return { name, events, ends, connections: proxy.connections };
  } finally {
    await proxy.close();
  }
}

/** Appends `count` events in pieces and at times that follow from the seed, then ends the run. */
async function writeAtRandom(runner: ServingRunner, count: number, seed: number): Promise<void> {
  const random = seededRandom(seed);
  for (let written = 0; written < count; ) {
    const piece = Math.min(count - written, 1 + Math.floor(random() * 4));
    await post(api, runner, written + 1, written + piece);
    written += piece;
    await sleep(random() * 300);
  }
  await endRun(database, runner.runId);
}

async function expectTable(runId: string, readers: readonly Joined[]): Promise<void> {
  const table = await storedEvents(api, runId);
  for (const { name, events, ends } of readers) {
    expect({ name, ends, seqs: events.map(({ seq }) => seq) }).toEqual({
      name,
      ends: ['completed'],
      seqs: table.map(({ seq }) => seq),
    });
    expect({ name, events }).toEqual({ name, events: table });
  }
}

it('cut after every event index, each reader has what the table has', async () => {
  const count = 16;
  const runner = await startTurn(api);
  // What AgentRun says itself comes on top.
  const indexes = Array.from({ length: count + 6 }, (_, index) => index);
  const reading = indexes.map((index) =>
    readCut(
      `cut after ${index}`,
      runner.runId,
      // Nobody gets on who sees nothing: three times, then all.
      Array.from({ length: index === 0 ? 3 : 200 }, () => cutAfterEvents(index)),
    ),
  );
  const [readers] = await Promise.all([Promise.all(reading), writeAtRandom(runner, count, 34)]);
  await expectTable(runner.runId, readers);
  const stored = readers[0]?.events.length ?? 0;
  expect(stored).toBeGreaterThan(count);
  expect(stored).toBeLessThanOrEqual(indexes.length);
  for (const [index, { name, connections }] of readers.entries()) {
    const least = index === 0 ? 4 : Math.floor(stored / index) + 1;
    expect({ name, isCut: connections >= least }).toEqual({ name, isCut: true });
  }
});

it('cut at any byte, each reader has what the table has', async () => {
  const seed = 20_251_121;
  const head = fc.integer({ min: 0, max: 700 });
  const plans = fc.sample(fc.array(fc.oneof(head, fc.integer({ min: 0, max: 6_000 })), { maxLength: 9 }), {
    numRuns: 36,
    seed,
  });
  const runners = await Promise.all([startTurn(api), startTurn(api), startTurn(api)]);
  const reading = runners.map((runner, which) =>
    Promise.all(
      plans
        .filter((_, index) => index % runners.length === which)
        .map((plan) => readCut(`cut at ${plan.join(', ')}`, runner.runId, plan.map(cutAfterBytes))),
    ),
  );
  const writing = runners.map((runner, which) => writeAtRandom(runner, 30, seed + which));
  const [readers] = await Promise.all([Promise.all(reading), Promise.all(writing)]);
  for (const [which, runner] of runners.entries()) await expectTable(runner.runId, readers[which] ?? []);
});
