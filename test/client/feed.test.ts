import { describe, expect, it } from 'vitest';
import { createApiClient } from '../../client/index.js';
import { streamRoutes } from '../../contract/routes/streams.js';
import { eventOf, scriptedSseServer, type Visit } from './scripted-sse-server.js';

const whose = { tenantId: 'acme', projectId: 'web', sessionId: 'sess_1' };
const event = (visit: Visit, id: string) =>
  visit.raw(`id: ${id}\ndata: ${JSON.stringify({ ...eventOf(1), ...whose })}\n\n`);
const place = (visit: Visit, id: string) => visit.raw(`id: ${id}\n: at ${id}\n\n`);

/** Reads the feed of a server that refuses its last visit. Answers the ids that were seen, and what each visit came with. */
async function read(after: string | undefined, ...scenes: ((visit: Visit) => unknown)[]) {
  const server = await scriptedSseServer(...scenes, (visit) => visit.refuse(403, 'forbidden'));
  const frames = createApiClient({ baseUrl: server.url, token: () => 'token' }).stream(
    streamRoutes.streamFeed,
    after === undefined ? {} : { after },
    { budget: { attemptsInARow: 1, attemptsInAll: 1 } },
  );
  const seen: string[] = [];
  const reading = (async () => {
    for await (const frame of frames) seen.push(frame.frame === 'event' ? frame.id : frame.frame);
  })();
  await expect(reading).rejects.toMatchObject({ status: 403 });
  return { seen, cursors: server.visits.map(({ headers }) => headers['last-event-id']) };
}

describe('a reader of the feed', () => {
  const gap = (visit: Visit) => visit.frame('gap', { from: 'MS4w', to: 'MS41', reason: 'retention' });

  it('does not move over a gap, in which there may be events', async () => {
    const { seen, cursors } = await read('MS4w', (visit) => gap(visit).cut());
    expect(seen).toEqual(['gap']);
    expect(cursors).toEqual(['MS4w', 'MS4w']);
  });

  it('is told again of a gap at its beginning, and goes on with what follows', async () => {
    const { seen, cursors } = await read(
      undefined,
      (visit) => gap(visit).cut(),
      (visit) => event(gap(visit), 'MS4z').cut(),
    );
    expect(seen).toEqual(['gap', 'gap', 'MS4z']);
    expect(cursors).toEqual([undefined, undefined, 'MS4z']);
  });

  it('comes back to the place that it was told, with or without events before it', async () => {
    const { seen, cursors } = await read(
      'MS4w',
      (visit) => place(event(visit, 'MS4x'), 'MS4y').cut(),
      (visit) => place(visit, 'MS4z').cut(),
      (visit) => event(place(visit, 'MS40'), 'MS41').cut(),
    );
    expect(seen).toEqual(['MS4x', 'MS41']);
    expect(cursors).toEqual(['MS4w', 'MS4y', 'MS4z', 'MS41']);
  });
});
