import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import type { ProducedEvent } from '../../contract/events.js';
import { type IngestLine, ingestLineSchema } from '../../contract/ingest.js';
import { EventQueue } from '../../runner/supervisor/event-queue.js';
import { EventSpill, spilledLines } from '../../runner/supervisor/event-spill.js';
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
async function spilledIn(path: string): Promise<IngestLine[]> {
  const lines: IngestLine[] = [];
  for await (const line of spilledLines(() => folder.lines(path, 1_000_000_000))) lines.push(line);
  return lines;
}
const left = async (epoch: number) => texts(await spilledIn(folder.spillPath(epoch)));

describe('the spill of an attempt', () => {
  function queue(maxBytes?: number, maxSpillBytes?: number) {
    const journal = new EventSpill(folder.spillPath(1), log, maxSpillBytes);
    return { queue: new EventQueue({ journal, maxBytes }), journal };
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
    expect(statSync(folder.spillPath(1)).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, 'runs', runId)).mode & 0o777).toBe(0o700);
  });

  test('is as the queue after any course of adds, acknowledgements and realignments', async () => {
    const random = generator(7);
    for (let round = 0; round < 40; round += 1) {
      const { queue: subject, journal } = queue(4_000, 6_000);
      for (let step = 0; step < 200; step += 1) {
        const chance = random();
        if (chance < 0.6) subject.add(event('x'.repeat(Math.floor(random() * 200))));
        else if (chance < 0.9)
          subject.accepted(subject.acceptedSeq + Math.floor(random() * (subject.size + 1)));
        else if (chance < 0.95) subject.accepted(Math.max(0, subject.acceptedSeq - 2));
        else subject.replaceFirst('refused');
        if (random() < 0.9) continue;
        const waiting = subject.batch(900)?.lines ?? '';
        const expected = waiting
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => ingestLineSchema.parse(JSON.parse(line)));
        expect(await spilledIn(folder.spillPath(1))).toEqual(expected);
      }
      journal.close(true);
    }
  });

  test('does not grow with a long turn', () => {
    const { queue: subject, journal } = queue();
    for (let index = 1; index <= 5_000; index += 1) {
      subject.add(event('y'.repeat(500)));
      subject.accepted(index);
    }
    expect(statSync(folder.spillPath(1)).size).toBeLessThan(70_000);
    journal.close(true);
    expect(() => statSync(folder.spillPath(1))).toThrow(/ENOENT/);
  });

  test('a cut last line is left out', async () => {
    const { queue: subject } = queue();
    for (const text of ['a', 'b']) subject.add(event(text));
    const whole = readFileSync(folder.spillPath(1), 'utf8');
    for (let cut = 1; cut < 40; cut += 1) {
      writeFileSync(folder.spillPath(2), whole.slice(0, -cut));
      expect(await left(2)).toEqual(cut === 1 ? ['1:a', '2:b'] : ['1:a']);
    }
  });

  test('a volume that cannot be written stops nothing', () => {
    const lines: string[] = [];
    const journal = new EventSpill(join(directory, 'absent', 'x.ndjson'), {
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

describe('an overflow of the queue', () => {
  test('leaves a marker where the loss was, as soon as there is room, also when nothing follows', () => {
    const subject = new EventQueue({ maxBytes: 2_000 });
    for (let index = 1; index <= 10; index += 1) subject.add(event('z'.repeat(400)));
    const kept = subject.size;
    expect(kept).toBeLessThan(10);
    subject.accepted(kept);
    const marker = ingestLineSchema.parse(JSON.parse(subject.batch()?.lines ?? ''));
    expect(marker).toMatchObject({
      seq: kept + 1,
      event: { type: 'events_lost', payload: { count: 10 - kept } },
    });
    subject.add(event('after'));
    expect(subject.batch()?.count).toBe(2);
  });

  test('64 MB wait, what is beyond is counted', () => {
    const subject = new EventQueue();
    const big = 'w'.repeat(850_000);
    for (let index = 0; index < 90; index += 1) subject.add(event(big));
    expect(subject.size).toBe(Math.floor((64 * 1024 * 1024) / 850_150));
    const kept = subject.size;
    let last: unknown;
    for (let batch = subject.batch(); batch !== undefined; batch = subject.batch()) {
      expect(Buffer.byteLength(batch.lines)).toBeLessThan(5_000_000);
      last = JSON.parse(batch.lines.trim().split('\n').at(-1) ?? '');
      subject.accepted(subject.acceptedSeq + batch.count);
    }
    expect(subject.acceptedSeq).toBe(kept + 1);
    expect(last).toMatchObject({ event: { type: 'events_lost', payload: { count: 90 - kept } } });
  });
});

describe('the upload of what former attempts left', () => {
  function spilled(epoch: number, names: readonly string[]): void {
    const subject = new EventQueue({ journal: new EventSpill(folder.spillPath(epoch), log) });
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
    expect(await folder.spilledEpochs(4)).toEqual([3]);
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
    expect(await folder.spilledEpochs(3)).toEqual([2]);
  });

  test('one refused event does not take the others with it', async () => {
    spilled(1, ['a', 'bad', 'c']);
    const { taken } = await upload((lines) => {
      if (lines.some((line) => line.event.payload.text === 'bad'))
        throw new ApiError({ status: 400, failureKind: 'schema-invalid', message: 'no' });
    });
    expect(taken.flatMap((one) => one.lines)).toEqual(['1:a', '3:c']);
    expect(await folder.spilledEpochs(3)).toEqual([]);
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
    execFileSync('mkfifo', [path, folder.spillPath(1)]);
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
    for (const name of ['events-1.ndjson', 'events-1.ndjson.new', 'thread.json.new', 'told.ndjson'])
      symlinkSync(elsewhere, join(path, name));
    const spill = new EventSpill(folder.spillPath(1), log);
    spill.append('{}');
    spill.rewrite(['{}']);
    await folder.rememberThread(1, 'thread-1');
    await folder.rememberTold('request');
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
    expect(readFileSync(folder.spillPath(1), 'utf8')).toBe('{}\n');
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
