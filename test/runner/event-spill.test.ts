import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import type { ProducedEvent } from '../../contract/events.js';
import { type IngestLine, ingestLineSchema } from '../../contract/ingest.js';
import { segmentPath, spilledBatches, spillsIn } from '../../infra/spill/spill-files.js';
import { spillLimits } from '../../infra/spill/spill-lines.js';
import { EventQueue, memoryLimits } from '../../runner/supervisor/event-queue.js';
import { EventSpill } from '../../runner/supervisor/event-spill.js';
import { RunFolder } from '../../runner/supervisor/run-folder.js';
import { uploadSpills } from '../../runner/supervisor/spill-upload.js';

const runId = 'run_a';
const log = { warn: () => undefined };
let directory: string;
let folder: RunFolder;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'agentrun-spill-'));
  folder = new RunFolder(directory, runId, log);
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

const event = (text: string): ProducedEvent => ({ type: 'agent_message', payload: { itemId: 'i', text } });
const texts = (lines: readonly IngestLine[]) =>
  lines.map((line) => `${line.seq}:${JSON.stringify(line.event.payload.text)}`.replaceAll('"', ''));
async function spilledOf(epoch: number): Promise<IngestLine[]> {
  const lines: IngestLine[] = [];
  for await (const batch of spilledBatches((await spillsIn(folder.path)).get(epoch) ?? []))
    lines.push(...batch);
  return lines;
}
const left = async (epoch: number) => texts(await spilledOf(epoch));
const firstSegment = (epoch: number) => segmentPath(folder.path, epoch, 0);
const epochs = async () => [...(await spillsIn(folder.path)).keys()];
/** The lines of the next request. */
const next = (queue: EventQueue): IngestLine[] =>
  (queue.batch()?.lines ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ingestLineSchema.parse(JSON.parse(line)));
/** Sends everything, as an API that takes it. */
function drain(queue: EventQueue): IngestLine[] {
  const sent: IngestLine[] = [];
  for (let batch = next(queue); batch.length > 0; batch = next(queue)) {
    sent.push(...batch);
    queue.accepted(queue.acceptedSeq + batch.length);
  }
  return sent;
}

describe('the spill of an attempt', () => {
  const small = { memory: { bytes: 4_000, events: 30 }, spill: { bytes: 10_000_000, segmentBytes: 2_000 } };
  function queue(limits?: typeof small, epoch = 1) {
    const journal = new EventSpill(folder.path, epoch, log, limits?.spill);
    return { queue: new EventQueue({ journal, limits: limits?.memory }), journal };
  }

  test('holds what was added and not acknowledged, under its sequence', async () => {
    const { queue: subject } = queue();
    for (const text of ['a', 'b', 'c']) subject.add(event(text));
    expect(await left(1)).toEqual(['1:a', '2:b', '3:c']);
    subject.accepted(2);
    expect(await left(1)).toEqual(['3:c']);
    subject.add(event('d'));
    subject.accepted(4);
    expect(await left(1)).toEqual([]);
    expect(statSync(firstSegment(1)).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, 'runs', runId)).mode & 0o777).toBe(0o700);
  });

  test('memory and files hold together what waits, in order, after any course of adds, acknowledgements and realignments', async () => {
    const random = generator(7);
    let deepest = 0;
    for (let round = 0; round < 15; round += 1) {
      const { queue: subject, journal } = queue(small);
      const waiting: string[] = [];
      for (let step = 0; step < 400; step += 1) {
        const chance = random();
        if (chance < 0.7) {
          const text = `${round}/${step}${'x'.repeat(Math.floor(random() * 300))}`;
          subject.add(event(text));
          waiting.push(text);
        } else if (chance < 0.95) {
          const sent = Math.floor(random() * (next(subject).length + 1));
          subject.accepted(subject.acceptedSeq + sent);
          waiting.splice(0, sent);
        } else if (chance < 0.97) subject.accepted(Math.max(0, subject.acceptedSeq - 2));
        else if (chance < 0.98) subject.accepted(subject.acceptedSeq + subject.size + 3);
        deepest = Math.max(deepest, subject.size);
        if (random() < 0.95) continue;
        const expected = waiting.map((text, index) => `${subject.acceptedSeq + index + 1}:${text}`);
        expect(await left(1)).toEqual(expected);
      }
      const first = subject.acceptedSeq + 1;
      expect(texts(drain(subject))).toEqual(waiting.map((text, index) => `${first + index}:${text}`));
      expect(await left(1)).toEqual([]);
      journal.close(true);
      expect(await epochs()).toEqual([]);
    }
    expect(deepest).toBeGreaterThan(60);
  });

  test('a sender that follows another one of the same attempt goes on where that one was', async () => {
    const random = generator(3);
    for (let round = 0; round < 30; round += 1) {
      const former = queue(small);
      const texted = Array.from(
        { length: 120 },
        (_, index) => `${round}/${index}${'y'.repeat(random() * 200)}`,
      );
      for (const text of texted) former.queue.add(event(text));
      const known = Math.floor(random() * 30);
      former.queue.batch();
      former.queue.accepted(known);
      // It is killed: nothing is closed, and of what the API took since it knows nothing.
      const { queue: subject, journal } = queue(small);
      expect(journal.left).toEqual({ mark: { accepted: known, shift: 0 }, waiting: 120 - known });
      subject.add(event('new'));
      const stored = known + Math.floor(random() * 60);
      subject.accepted(stored);
      expect(texts(drain(subject))).toEqual(
        [...texted, 'new'].map((text, index) => `${index + 1}:${text}`).slice(stored),
      );
      journal.close(true);
    }
  });

  test('a file of the storage that cannot be read any more leaves a marker with the count', () => {
    const { queue: subject } = queue(small);
    for (let index = 0; index < 100; index += 1) subject.add(event(`${index}${'z'.repeat(200)}`));
    const inMemory = next(subject).length;
    for (const path of readdirSync(folder.path)) rmSync(join(folder.path, path));
    subject.accepted(inMemory);
    const lines = drain(subject);
    subject.add(event('after'));
    lines.push(...drain(subject));
    expect(lines.map(({ seq }) => seq)).toEqual([inMemory + 1, inMemory + 2]);
    expect(lines.map((line) => line.event.payload)).toMatchObject([
      { count: 100 - inMemory },
      { text: 'after' },
    ]);
  });

  test('does not grow with a long turn', () => {
    const { queue: subject, journal } = queue();
    for (let index = 1; index <= 5_000; index += 1) {
      subject.add(event('y'.repeat(500)));
      subject.accepted(index);
    }
    expect(statSync(firstSegment(1)).size).toBeLessThan(70_000);
    journal.close(true);
    expect(() => statSync(firstSegment(1))).toThrow(/ENOENT/);
  });

  test('a cut last line is left out', async () => {
    const { queue: subject } = queue();
    for (const text of ['a', 'b']) subject.add(event(text));
    const whole = readFileSync(firstSegment(1), 'utf8');
    for (let cut = 1; cut < 40; cut += 1) {
      writeFileSync(firstSegment(2), whole.slice(0, -cut));
      expect(await left(2)).toEqual(cut === 1 ? ['1:a', '2:b'] : ['1:a']);
    }
  });

  test.each([
    ['of blank lines', () => '\n'.repeat(20_000_000)],
    ['that is one line', () => `{"seq":1,"event":${'x'.repeat(20_000_000)}`],
  ])('a file %s that stands where ours would be stops nothing', async (_what, content) => {
    writeFileSync(firstSegment(1), content());
    const before = process.memoryUsage().rss;
    await left(1).catch((error: unknown) => expect(String(error)).toMatch(/lines are left/));
    const { queue: subject } = queue();
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
    subject.accepted(0);
    subject.add(event('a'));
    expect(texts(drain(subject))).toEqual(['1:a']);
  });

  test('a line that is longer than any of ours is left out and told, the others are read', async () => {
    const { queue: subject } = queue();
    for (const text of ['a', 'b']) subject.add(event(text));
    const [first, second] = readFileSync(firstSegment(1), 'utf8').trim().split('\n');
    const long = `{"seq":2,"event":{"type":"error","payload":{"x":"${'x'.repeat(3_000_000)}"}}}`;
    const deep = `{"seq":2,"event":{"type":"error","payload":{"x":${'['.repeat(300_000)}${']'.repeat(300_000)}}}}`;
    writeFileSync(firstSegment(1), [first, long, long, deep, second, long].join('\n'));
    const told: number[] = [];
    const lines: IngestLine[] = [];
    for await (const batch of spilledBatches([firstSegment(1)], { onTooLong: (count) => told.push(count) }))
      lines.push(...batch);
    expect(texts(lines)).toEqual(['1:a', '2:b']);
    expect(told).toEqual([3]);
  });

  test('more than an attempt of ours leaves is not read', async () => {
    const paths = Array.from({ length: 9 }, (_, index) => segmentPath(folder.path, 1, index));
    for (const path of paths) {
      writeFileSync(path, '');
      truncateSync(path, 4 * spillLimits.segmentBytes);
    }
    await expect(left(1)).rejects.toThrow(/bytes are left/);
    truncateSync(firstSegment(1), 4 * spillLimits.segmentBytes + 1);
    await expect(left(1)).rejects.toThrow(/bytes are more than/);
  });

  test('a volume that cannot be written stops nothing', () => {
    const lines: string[] = [];
    const journal = new EventSpill(join(directory, 'absent'), 1, {
      warn: (_fields, message) => lines.push(message),
    });
    const subject = new EventQueue({ journal });
    for (const text of ['a', 'b']) subject.add(event(text));
    subject.accepted(1);
    journal.close(true);
    expect(subject.size).toBe(1);
    expect(lines).toHaveLength(1);
  });
});

describe('an overflow', () => {
  const tight = { bytes: 2_000, events: 100 };

  test('of the memory alone leaves a marker where the loss was, as soon as there is room, also when nothing follows', () => {
    const subject = new EventQueue({ limits: tight });
    for (let index = 1; index <= 10; index += 1) subject.add(event('z'.repeat(400)));
    const kept = subject.size;
    expect(kept).toBeLessThan(10);
    subject.accepted(kept);
    expect(next(subject)).toMatchObject([
      { seq: kept + 1, event: { type: 'events_lost', payload: { count: 10 - kept } } },
    ]);
    subject.add(event('after'));
    expect(subject.batch()?.count).toBe(2);
  });

  test('of memory and storage leaves one marker, and what follows is stored behind it', () => {
    const journal = new EventSpill(folder.path, 1, log, { bytes: 10_000, segmentBytes: 2_000 });
    const subject = new EventQueue({ journal, limits: tight });
    for (let index = 1; index <= 100; index += 1) subject.add(event(`${index}${'z'.repeat(400)}`));
    const kept = subject.size;
    expect(kept).toBeGreaterThan(15);
    expect(kept).toBeLessThan(100);
    const sent = drain(subject);
    expect(sent.map(({ seq }) => seq)).toEqual(Array.from({ length: kept + 1 }, (_, index) => index + 1));
    expect(sent.at(-1)?.event).toMatchObject({ type: 'events_lost', payload: { count: 100 - kept } });
    subject.add(event('after'));
    expect(texts(drain(subject))).toEqual([`${kept + 2}:after`]);
  });

  test.each([
    ['bytes', 850_000, 90],
    ['events', 10, memoryLimits.events + 5_000],
  ] as const)('of the %s of memory waits on the storage, whole and in order', (_what, size, count) => {
    const subject = new EventQueue({ journal: new EventSpill(folder.path, 1, log) });
    const before = process.memoryUsage().rss;
    for (let index = 0; index < count; index += 1) subject.add(event(`${index} ${'w'.repeat(size)}`));
    expect(subject.size).toBe(count);
    let seen = 0;
    for (let batch = subject.batch(); batch !== undefined; batch = subject.batch()) {
      expect(Buffer.byteLength(batch.lines)).toBeLessThan(5_000_000);
      for (const line of batch.lines.trimEnd().split('\n')) {
        expect(line.slice(0, 120)).toContain(`{"seq":${seen + 1},`);
        expect(line.slice(0, 160)).toContain(`"text":"${seen} w`);
        seen += 1;
      }
      subject.accepted(seen);
    }
    expect(seen).toBe(count);
    expect(process.memoryUsage().rss - before).toBeLessThan(400_000_000);
  });

  test('what waits in memory has room on the storage', () => {
    expect(memoryLimits.bytes).toBeLessThan(spillLimits.bytes);
    expect(memoryLimits.events).toBe(20_000);
  });
});

describe('the upload of what former attempts left', () => {
  function spilled(epoch: number, names: readonly string[]): void {
    const subject = new EventQueue({ journal: new EventSpill(folder.path, epoch, log) });
    for (const text of names) subject.add(event(text));
  }

  async function upload(answer: (lines: IngestLine[]) => void, signal = new AbortController().signal) {
    const taken: { epoch: number; lines: string[] }[] = [];
    const warned: string[] = [];
    await uploadSpills({
      folder,
      epoch: 3,
      send: (epoch, body) => {
        const lines = body
          .trim()
          .split('\n')
          .map((line) => ingestLineSchema.parse(JSON.parse(line)));
        answer(lines);
        taken.push({ epoch, lines: texts(lines) });
        return Promise.resolve();
      },
      signal,
      log: { warn: (_fields, message) => warned.push(message) },
    });
    return { taken, warned };
  }

  test('oldest first, once, with the original sequence; the present attempt is left alone', async () => {
    for (const epoch of [2, 1, 3]) spilled(epoch, [`e${epoch}`, 'more']);
    const { taken } = await upload(() => undefined);
    expect(taken).toEqual([
      { epoch: 1, lines: ['1:e1', '2:more'] },
      { epoch: 2, lines: ['1:e2', '2:more'] },
    ]);
    expect(await epochs()).toEqual([3]);
    expect((await upload(() => undefined)).taken).toEqual([]);
  });

  test('a failure is repeated, and at last logged: the file stays', async () => {
    spilled(1, ['a']);
    let failures = 0;
    const first = await upload(() => {
      failures += 1;
      if (failures < 3) throw new ConnectionError('network', 'away');
    });
    expect(first.taken).toHaveLength(1);
    spilled(2, ['b']);
    const second = await upload(() => {
      throw new ApiError({ status: 409, failureKind: 'conflict', message: 'no' });
    });
    expect(second.warned).toEqual(['a spill was not uploaded to its end']);
    expect(await epochs()).toEqual([2]);
  });

  test('one refused event becomes a marker and does not take the others with it', async () => {
    spilled(1, ['a', 'bad', 'c']);
    const { taken } = await upload((lines) => {
      if (lines.some((line) => line.event.payload.text === 'bad'))
        throw new ApiError({ status: 400, failureKind: 'schema-invalid', message: 'no' });
    });
    expect(taken.flatMap((one) => one.lines)).toEqual(['1:a', '2:undefined', '3:c']);
    expect(await epochs()).toEqual([]);
  });
});

describe('the folder of a run', () => {
  test('remembers the thread for the next attempt of the same run', async () => {
    expect(await folder.rememberedThread()).toBeNull();
    await folder.rememberThread(1, 'thread-1');
    await folder.rememberThread(2, 'thread-2');
    expect(await new RunFolder(directory, runId, log).rememberedThread()).toEqual({
      threadId: 'thread-2',
      handedOver: false,
    });
    await folder.rememberThread(2, 'thread-2', { handedOver: true });
    expect(await folder.rememberedThread()).toEqual({ threadId: 'thread-2', handedOver: true });
    expect(statSync(join(directory, 'runs', runId, 'thread.json')).mode & 0o777).toBe(0o600);
    expect(await new RunFolder(directory, 'run_b', log).rememberedThread()).toBeNull();
    await folder.close();
    expect(await folder.rememberedThread()).toBeNull();
  });

  test.each([
    '',
    '{',
    '{"runId":"run_x","epoch":1,"threadId":"t"}',
    '{"runId":"run_a","epoch":1,"threadId":""}',
  ])('what is no ledger of this run is none: %j', async (text) => {
    writeFileSync(join(directory, 'runs', runId, 'thread.json'), text);
    expect(await folder.rememberedThread()).toBeNull();
  });

  test('does not follow links', async () => {
    writeFileSync(join(directory, 'elsewhere'), JSON.stringify({ runId, epoch: 1, threadId: 't' }));
    symlinkSync(join(directory, 'elsewhere'), join(directory, 'runs', runId, 'thread.json'));
    expect(await folder.rememberedThread()).toBeNull();
  });

  test('a pipe in the place of a file is not waited for', async () => {
    const path = join(directory, 'runs', runId, 'thread.json');
    execFileSync('mkfifo', [path, firstSegment(1)]);
    expect(await folder.rememberedThread()).toBeNull();
    const warned: string[] = [];
    const log = { warn: (_fields: unknown, message: string) => warned.push(message) };
    const send = () => Promise.reject(new Error('nothing is to be sent'));
    await uploadSpills({ folder, epoch: 2, send, signal: new AbortController().signal, log });
    expect(warned).toEqual(['a spill was not uploaded to its end']);
  });

  test('nothing is written through a link', async () => {
    const elsewhere = join(directory, 'elsewhere');
    writeFileSync(elsewhere, 'precious');
    const path = join(directory, 'runs', runId);
    for (const name of ['events-1.ndjson', 'thread.json.new', 'told.ndjson'])
      symlinkSync(elsewhere, join(path, name));
    const spill = new EventSpill(folder.path, 1, log);
    spill.append({ ordinal: 1, json: '{}' });
    await folder.rememberThread(1, 'thread-1');
    await folder.rememberTold('request');
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
    expect(readFileSync(segmentPath(folder.path, 1, 1), 'utf8')).toBe('{"seq":1,"event":{}}\n');
  });

  test('remembers what the agent was told, beside a line that was cut', async () => {
    expect(await folder.toldRequests()).toEqual(new Set());
    await folder.rememberTold('one');
    appendFileSync(join(directory, 'runs', runId, 'told.ndjson'), '{"requestId":"cu');
    await folder.rememberTold('two');
    const next = new RunFolder(directory, runId, log);
    expect(await next.toldRequests()).toEqual(new Set(['one', 'two']));
    await next.close();
    expect(() => statSync(join(directory, 'runs', runId))).toThrow(/ENOENT/);
  });

  test('what old runs left is removed after a day', async () => {
    for (const [name, hours] of [
      ['run_old', 25],
      ['run_recent', 1],
    ] as const) {
      const path = join(directory, 'runs', name);
      mkdirSync(path);
      const at = Date.now() / 1_000 - hours * 3_600;
      utimesSync(path, at, at);
    }
    await folder.removeOthers();
    expect(() => statSync(join(directory, 'runs', 'run_old'))).toThrow(/ENOENT/);
    expect(statSync(join(directory, 'runs', 'run_recent')).isDirectory()).toBe(true);
  });
});

/** A small seeded generator of numbers from 0 to 1. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
