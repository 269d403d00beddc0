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

  it('ask for less after a failure, so that one that cannot be read holds nobody else', async () => {
    const asked: { keys: readonly string[]; share: number }[] = [];
    const read = new Set<string>();
    const all = Array.from({ length: 100 }, (_, index) => `run ${index}`);
    const looks = new BatchedLooks({
      listener: handListener(),
      channel: 'agentrun_run',
      logger,
      look: async (keys, share) => {
        asked.push({ keys, share });
        if (keys.includes('run 50')) throw new Error('statement timeout');
        for (const key of keys) read.add(key);
        return [];
      },
    });
    for (const key of all) looks.follow(key);
    await vi.waitFor(() => expect(read.size).toBe(99), { timeout: 10_000 });
    const alone = () => asked.filter(({ keys }) => keys.length === 1 && keys[0] === 'run 50');
    await vi.waitFor(() => expect(alone().at(-1)?.share).toBe(1 / 128), { timeout: 10_000 });
    const groups = asked.flatMap(({ keys, share }) =>
      keys.includes('run 50') ? [{ keys: keys.length, share }] : [],
    );
    for (const { keys, share } of groups) expect(keys).toBeLessThanOrEqual(Math.max(1, 100 * share));
    expect(groups.map(({ share }) => share)).toEqual([1, 2, 4, 8, 16, 32, 64, 128].map((part) => 1 / part));
    // The others are looked at whole again, and it is left alone for a while.
    asked.length = 0;
    await vi.waitFor(
      () => expect(asked.some(({ keys, share }) => keys.length === 99 && share === 1)).toBe(true),
      { timeout: 5_000 },
    );
    for (const key of all) looks.unfollow(key);
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

  it('serve callers in turn, however many reads one of them wants', async () => {
    const reads = new BoundedReads(logger, 2);
    const order: string[] = [];
    const want = (whose: string, count: number) =>
      Array.from({ length: count }, () =>
        reads.read(
          async () => {
            order.push(whose);
            await new Promise((resolve) => setImmediate(resolve));
          },
          forever,
          whose,
        ),
      );
    await Promise.all([...want('greedy', 50), ...want('modest', 2), ...want('other', 1)]);
    expect(order).toHaveLength(53);
    expect(order.slice(0, 7)).toEqual(['greedy', 'greedy', 'greedy', 'modest', 'other', 'greedy', 'modest']);
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
