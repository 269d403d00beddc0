import { describe, expect, it, vi } from 'vitest';
import { BatchedLooks } from '../../../api/streams/batched-looks.js';
import { BoundedReads } from '../../../api/streams/bounded-reads.js';
import { createLogger } from '../../../infra/telemetry/logger.js';

const logger = createLogger({ name: 'test', level: 'silent' });

/** Wake-ups by hand. */
function handListener() {
  const callbacks = new Map<string, () => void>();
  return {
    wake: (key: string) => callbacks.get(key)?.(),
    followed: () => [...callbacks.keys()],
    subscribe: (_channel: string, key: string, callback: () => void) => {
      callbacks.set(key, callback);
      return () => callbacks.delete(key);
    },
  };
}

describe('batched looks', () => {
  it('are at once for what is followed and what is woken, many in one, and every second for all', async () => {
    const listener = handListener();
    const seen: string[][] = [];
    const looks = new BatchedLooks({
      listener,
      channel: 'agentrun_run',
      logger,
      look: async (keys) => {
        seen.push([...keys]);
        return [];
      },
    });
    for (const key of ['a', 'b', 'c']) looks.follow(key);
    await vi.waitFor(() => expect(seen.flat().toSorted()).toEqual(['a', 'b', 'c']));
    const first = seen.length;
    for (const key of ['b', 'b', 'c']) listener.wake(key);
    await vi.waitFor(() => expect(seen.length).toBe(first + 1));
    expect(seen.at(-1)).toEqual(['b', 'c']);
    await vi.waitFor(() => expect(seen.at(-1)).toEqual(['b', 'c', 'a'].toSorted()), { timeout: 2_000 });
    for (const key of ['a', 'b', 'c']) looks.unfollow(key);
    expect(listener.followed()).toEqual([]);
  });

  it('go on after failures, and look again at what has more', async () => {
    const warned = vi.spyOn(logger, 'warn');
    let left = 4;
    let looked = 0;
    const looks = new BatchedLooks({
      listener: handListener(),
      channel: 'agentrun_run',
      logger,
      look: async (keys) => {
        looked += 1;
        if (looked <= 2) throw new Error('Postgres is away');
        left -= 1;
        return left > 0 ? keys : [];
      },
    });
    looks.follow('a');
    await vi.waitFor(() => expect(left).toBe(0), { timeout: 5_000 });
    expect([looked, warned.mock.calls.length]).toEqual([6, 2]);
    looks.unfollow('a');
  });
});

describe('bounded reads', () => {
  const forever = new AbortController().signal;

  it('are a few at a time, in order', async () => {
    const reads = new BoundedReads(logger, 2);
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const work = (at: number) => async () => {
      running += 1;
      most = Math.max(most, running);
      order.push(at);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return at;
    };
    const answers = await Promise.all([0, 1, 2, 3, 4, 5].map((at) => reads.read(work(at), forever)));
    expect([answers, order, most]).toEqual([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], 2]);
  });

  it('are tried again, and leave their place to others when they fail', async () => {
    const reads = new BoundedReads(logger, 1);
    let tries = 0;
    const failing = reads.read(async () => {
      tries += 1;
      if (tries < 3) throw new Error('away');
      return tries;
    }, forever);
    expect(await reads.read(async () => 'other', forever)).toBe('other');
    expect(await failing).toBe(3);
    const gone = new AbortController();
    gone.abort();
    await expect(reads.read(async () => 'nobody wants it', gone.signal)).rejects.toThrow();
    expect(await reads.read(async () => 'free', forever)).toBe('free');
  });
});
