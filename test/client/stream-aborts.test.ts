import { describe, expect, it } from 'vitest';
import { createApiClient } from '../../client/index.js';
import { streamRoutes } from '../../contract/routes/streams.js';
import { seededRandom } from '../support/seeded.js';
import { scriptedSseServer, type Visit } from './scripted-sse-server.js';

const rounds = 400;
const atOnce = 8;
const seed = Date.now() % 1_000_000;

/** Some turns of the event loop later. */
async function later(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** What hangs has a name, instead of the time limit of the test. */
async function inTime(what: string, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hangs`)), 10_000);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

describe(`an abort at the end of a stream (seed ${seed})`, () => {
  it.each<[string, (visit: Visit) => unknown, string]>([
    ['right after stream-end', (visit) => visit.event(1).streamEnd(1), 'stream-end'],
    ['while the server closes it', (visit) => visit.event(1).close(), 'event'],
    ['while the server breaks it off', (visit) => visit.event(1).cut(), 'event'],
  ])(
    '%s leaves nothing hanging',
    async (_name, scene, last) => {
      const random = seededRandom(seed);
      const turns = () => Math.floor(random() * 8);
      const server = await scriptedSseServer((visit) => void later(turns()).then(() => scene(visit)));
      const client = createApiClient({ baseUrl: server.url, token: () => 'token' });
      const unhandled: unknown[] = [];
      const note = (reason: unknown) => unhandled.push(reason);
      process.on('unhandledRejection', note);
      const one = async () => {
        const stop = new AbortController();
        const frames = client.stream(
          streamRoutes.streamRun,
          { params: { runId: 'run_1' } },
          { signal: stop.signal, budget: 'unlimited' },
        );
        const wait = turns();
        let aborting: Promise<void> | undefined;
        const reading = (async () => {
          for await (const frame of frames) {
            if (frame.frame === last) aborting ??= later(wait).then(() => stop.abort());
          }
          await aborting;
        })();
        await inTime('the reader', reading);
      };
      for (let round = 0; round < rounds; round += atOnce)
        await Promise.all(Array.from({ length: atOnce }, one));
      for (const [number, visit] of server.visits.entries()) await inTime(`connection ${number}`, visit.gone);
      process.off('unhandledRejection', note);
      expect(unhandled).toEqual([]);
    },
    60_000,
  );
});
