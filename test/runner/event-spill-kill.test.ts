import type NodeFs from 'node:fs';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { ingestLineSchema } from '../../contract/ingest.js';
import { segmentPath } from '../../infra/spill/spill-files.js';
import { EventQueue } from '../../runner/supervisor/event-queue.js';
import { EventSpill } from '../../runner/supervisor/event-spill.js';
import { seededRandom } from '../support/seeded.js';

/** Files as a process that is killed leaves them: behind so many changes none is made any more, and of the last write one half. */
const kill = vi.hoisted(() => {
  let left = Number.POSITIVE_INFINITY;
  class Killed extends Error {}
  return {
    Killed,
    after(changes: number) {
      left = changes;
    },
    get isDead() {
      return left < 0;
    },
    /** @throws Killed when this change is not made. */
    change(half: () => void = () => undefined) {
      left -= 1;
      if (left === -1) half();
      if (left < 0) throw new Killed('killed');
    },
  };
});

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof NodeFs>();
  return {
    ...fs,
    openSync: (...args: Parameters<typeof fs.openSync>) => {
      if (args[1] === 'wx') kill.change();
      return fs.openSync(...args);
    },
    ftruncateSync: (file: number, length?: number) => {
      kill.change();
      fs.ftruncateSync(file, length);
    },
    rmSync: (...args: Parameters<typeof fs.rmSync>) => {
      kill.change();
      fs.rmSync(...args);
    },
    writeSync: (file: number, data: Buffer, from: number, length: number, position: number) => {
      kill.change(() => void fs.writeSync(file, data, from, Math.floor(length / 2), position));
      return fs.writeSync(file, data, from, length, position);
    },
  };
});

const epoch = 1;
const limits = { bytes: 50_000_000, segmentBytes: 100_000 };
const memory = { bytes: 400_000, events: 100 };
const log = { warn: () => undefined };
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agentrun-spill-'));
});
afterEach(() => {
  kill.after(Number.POSITIVE_INFINITY);
  rmSync(folder, { recursive: true, force: true });
});

const sender = () => new EventQueue({ journal: new EventSpill(folder, epoch, log, limits), limits: memory });
const add = (queue: EventQueue, text: string) =>
  queue.add({ type: 'agent_message', payload: { itemId: 'i', text } });

/** Takes what follows what it has, and nothing twice. */
class Log {
  readonly texts: string[] = [];

  /** As much of the next request as it takes; false when there is none. */
  take(queue: EventQueue, most = Number.POSITIVE_INFINITY): boolean {
    const lines = (queue.batch()?.lines ?? '').split('\n').filter((line) => line !== '');
    for (const line of lines.slice(0, most)) {
      const { seq, event } = ingestLineSchema.parse(JSON.parse(line));
      if (seq <= this.texts.length) continue;
      expect(seq).toBe(this.texts.length + 1);
      this.texts.push(z.string().parse(event.payload.text).slice(0, 9));
    }
    return lines.length > 0;
  }
}

/** Adds and sends until all is done, or the process is killed. Answers what was added by then. */
function work(seed: number, stored: Log): string[] {
  const random = seededRandom(seed);
  const added: string[] = [];
  const queue = sender();
  for (let step = 0; step < 12 && !kill.isDead; step += 1) {
    if (step % 2 === 0) {
      const last = added.length + 1 + Math.floor(random() * 22);
      while (added.length < last && !kill.isDead) {
        const name = `event-${String(added.length).padStart(3, '0')}`;
        add(queue, `${name}${'x'.repeat(9_000)}`);
        if (!kill.isDead) added.push(name);
      }
    } else {
      const isAll = random() < 0.6;
      do {
        if (!stored.take(queue, isAll ? undefined : Math.floor(random() * 10))) break;
        // The answer may be the last thing that this process does not hear.
        if (!kill.isDead) queue.accepted(stored.texts.length);
      } while (isAll && !kill.isDead);
    }
  }
  return added;
}

describe('a sender that is killed at any change of its files', { timeout: 60_000 }, () => {
  test.each([1, 2])('is followed by one that loses nothing and sends nothing twice (course %d)', (seed) => {
    for (let changes = 1, dead = true; dead; changes += 1) {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder);
      const stored = new Log();
      kill.after(changes);
      const added = work(seed, stored);
      dead = kill.isDead;
      kill.after(Number.POSITIVE_INFINITY);
      const next = sender();
      // Where something seems to wait, it is no less than the API has of it.
      if (next.size > 0) expect(next.lastSeq).toBeGreaterThanOrEqual(stored.texts.length);
      if (changes % 2 === 0) {
        add(next, 'event-new');
        added.push('event-new');
      }
      next.accepted(stored.texts.length);
      while (stored.take(next)) next.accepted(stored.texts.length);
      // The event in which it was killed may be there or not.
      const expected = stored.texts.filter((text) => added.includes(text));
      expect([changes, expected]).toEqual([changes, added]);
      expect(stored.texts.length - added.length).toBeLessThanOrEqual(1);
      expect(new Set(stored.texts).size).toBe(stored.texts.length);
    }
  });
});

describe('a sender that follows another one', () => {
  test('takes nothing for waiting when the API has more than the files say; what was added since is new', () => {
    const former = sender();
    for (const text of ['one', 'two', 'three']) add(former, text);
    const next = sender();
    for (const text of ['four', 'five', 'six']) add(next, text);
    next.accepted(5);
    expect([next.size, next.acceptedSeq]).toEqual([3, 5]);
    expect(next.batch()?.lines).toContain(
      '{"seq":6,"event":{"type":"agent_message","payload":{"itemId":"i","text":"four"}',
    );
    // It is the first word of the API alone that may say so.
    next.accepted(9);
    expect([next.size, next.acceptedSeq]).toEqual([3, 9]);
  });
});

describe('segments that cannot be read', () => {
  const names = () => readdirSync(folder).toSorted();
  const unreadable = (index: number) => mkdirSync(segmentPath(folder, epoch, index));

  test('are left alone, and so are those behind them: a new one has an index of its own', () => {
    const former = sender();
    add(former, 'one');
    unreadable(1);
    writeFileSync(segmentPath(folder, epoch, 2), '');
    appendFileSync(segmentPath(folder, epoch, 7), 'behind');
    const before = names();
    const next = sender();
    expect(next.size).toBe(1);
    add(next, 'two');
    expect(names()).toEqual([...before, 'events-1.8.ndjson'].toSorted());
    next.accepted(1);
    expect([next.size, next.acceptedSeq]).toEqual([1, 1]);
  });

  test('alone: the next sender asks first what the API has', () => {
    unreadable(0);
    expect(new EventSpill(folder, epoch, log, limits).left).toEqual({
      mark: { accepted: 0, shift: 0 },
      waiting: 0,
    });
  });
});
