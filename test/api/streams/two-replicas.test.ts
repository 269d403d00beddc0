import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { createApiClient, errorText } from '../../../client/index.js';
import { routes } from '../../../contract/routes/index.js';
import { adminToken } from '../../support/api.js';
import { type ApiProcess, startApiProcess } from '../../support/api-process.js';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.js';
import { type ServingRunner, startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import { endRun, idsFrom, lastSeqOf, post } from '../support/streams.js';

// The writer is this process; the readers are on two others, behind a load balancer.
const { api, database } = await useApi();
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

const readLimitMs = 100_000;

async function startReplica(): Promise<ApiProcess> {
  const replica = await startApiProcess({
    database,
    keySet: api.keySet,
    env: {
      AGENTRUN_STREAMS_PER_RUN: '500',
      AGENTRUN_STREAMS_PER_TOKEN: '1000',
      AGENTRUN_SHUTDOWN_DELAY_MS: '300',
    },
  });
  closing.push(() => replica.kill());
  return replica;
}

/** Gives each connection to the next one of these replicas. */
async function startBalancer(replicas: readonly ApiProcess[]): Promise<TcpProxy> {
  let next = 0;
  const target = () => {
    const replica = replicas[next % replicas.length];
    next += 1;
    return replica === undefined ? undefined : Number(new URL(replica.url).port);
  };
  const balancer = await startTcpProxy({ target });
  closing.push(() => balancer.close());
  return balancer;
}

/** One who reads a run to its end. */
class Reader {
  readonly runId: string;
  readonly ids: string[] = [];
  /** Failures that were waited for; a rotation is none. */
  readonly failures: string[] = [];
  connected = 0;
  caughtUp = 0;
  ended: string | undefined;

  constructor(runId: string) {
    this.runId = runId;
  }

  async read(baseUrl: string): Promise<void> {
    const client = createApiClient({ baseUrl, token: () => adminToken });
    const frames = client.stream(
      routes.streamRun,
      { params: { runId: this.runId } },
      {
        signal: AbortSignal.timeout(readLimitMs),
        onState: (state) => {
          if (state.kind === 'connected') this.connected += 1;
          else this.failures.push(errorText(state.error));
        },
      },
    );
    for await (const frame of frames) {
      if (frame.frame === 'event') this.ids.push(frame.id);
      else if (frame.frame === 'caught-up') this.caughtUp += 1;
      else if (frame.frame === 'stream-end') this.ended = frame.data.status;
      else throw new Error(`unexpected ${frame.frame}`);
    }
  }
}

/** Writes to all runs, one after another, until it is told to stop; then ends them. */
function startWriting(runners: readonly ServingRunner[]) {
  const stop = new AbortController();
  const written = (async () => {
    let count = 0;
    while (!stop.signal.aborted) {
      for (const runner of runners) await post(api, runner, count * 3 + 1, count * 3 + 3);
      count += 1;
      await sleep(50);
    }
    for (const { runId } of runners) await endRun(database, runId);
  })();
  // Looked at when it is stopped.
  written.catch(() => undefined);
  return async () => {
    stop.abort();
    await written;
  };
}

async function expectNothingMissed(readers: readonly Reader[]): Promise<void> {
  const lastSeqs = new Map<string, number>();
  for (const { runId } of readers) lastSeqs.set(runId, await lastSeqOf(database, runId));
  for (const { ids, ended, runId } of readers) {
    expect(ended).toBe('completed');
    expect(ids).toEqual(idsFrom(1, lastSeqs.get(runId) ?? 0));
  }
}

/** Waits until so many readers are so far, or farther. */
const eventually = (count: () => number, least: number) =>
  expect.poll(count, { timeout: 60_000, interval: 50 }).toBeGreaterThanOrEqual(least);
const caughtUp = (readers: readonly Reader[], times: number) => () =>
  readers.filter((reader) => reader.caughtUp >= times).length;

it('one replica is killed: 200 readers come back, and none misses or doubles an event', async () => {
  const [staying, dying] = await Promise.all([startReplica(), startReplica()]);
  const replicas = [staying, dying];
  const balancer = await startBalancer(replicas);
  const runners = await Promise.all(Array.from({ length: 8 }, () => startTurn(api)));
  const stopWriting = startWriting(runners);
  const readers = runners.flatMap(({ runId }) => Array.from({ length: 25 }, () => new Reader(runId)));
  const reading = Promise.all(readers.map((reader) => reader.read(balancer.url)));
  await eventually(caughtUp(readers, 1), readers.length);
  await dying.kill();
  // The balancer notices later: half of the first attempts to come back meet the dead one.
  await sleep(700);
  replicas.pop();
  await eventually(caughtUp(readers, 2), 100);
  await stopWriting();
  await reading;
  await expectNothingMissed(readers);
  expect(readers.filter(({ failures }) => failures.length > 0).length).toBeGreaterThanOrEqual(100);
}, 180_000);

it('rolling restart: 100 readers are told to go elsewhere, and none misses or doubles an event', async () => {
  const replicas = [await startReplica(), await startReplica()];
  const balancer = await startBalancer(replicas);
  const runners = await Promise.all(Array.from({ length: 4 }, () => startTurn(api)));
  const stopWriting = startWriting(runners);
  const readers = runners.flatMap(({ runId }) => Array.from({ length: 25 }, () => new Reader(runId)));
  const reading = Promise.all(readers.map((reader) => reader.read(balancer.url)));
  await eventually(caughtUp(readers, 1), readers.length);
  for (let turn = 0; turn < 2; turn += 1) {
    const leaving = replicas.shift();
    replicas.push(await startReplica());
    expect(await leaving?.stop()).toBe(0);
  }
  await eventually(caughtUp(readers, 2), readers.length);
  await stopWriting();
  await reading;
  await expectNothingMissed(readers);
  // Nobody was cut off: each was told before.
  expect(readers.flatMap(({ failures }) => failures)).toEqual([]);
  expect(readers.every(({ connected }) => connected >= 2)).toBe(true);
}, 180_000);
