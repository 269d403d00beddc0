// A process of its own with the readers of the fan-out bench: `tsx fanout-reader-program.ts JSON`. It says when all of them have caught up, is told on
// stdin when the writers have ended, and answers what was seen.

import { get, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type FanoutEnd,
  type FanoutReaderOptions,
  type FanoutResult,
  fanoutEndSchema,
  fanoutReaderOptionsSchema,
} from './fanout-options.js';

const reconnectMs = 200;
const atField = '"at":"';

/** Milliseconds since the epoch, with fractions. */
const nowMs = (): number => performance.timeOrigin + performance.now();

/** What all readers saw together. */
const seen = { lost: 0, doubled: 0, reconnects: 0, caughtUp: 0 };
const latencies: number[] = [];
let isLive = false;

/** One connection after another to the stream of a run, by raw HTTP: it only counts. */
class Reader {
  readonly runId: string;
  lastSeq = 0;
  readonly #url: string;
  readonly #token: string;
  #rest = '';
  #isClosed = false;
  #response: IncomingMessage | undefined;

  constructor(url: string, { runId, token }: FanoutReaderOptions['readers'][number]) {
    this.runId = runId;
    this.#url = `${url}/api/v1/runs/${runId}/stream`;
    this.#token = token;
  }

  connect(): void {
    const headers = {
      authorization: `Bearer ${this.#token}`,
      accept: 'text/event-stream',
      ...(this.lastSeq === 0 ? {} : { 'last-event-id': String(this.lastSeq) }),
    };
    const again = (): void => {
      if (this.#isClosed) return;
      seen.reconnects += 1;
      setTimeout(() => this.connect(), reconnectMs);
    };
    get(this.#url, { headers, agent: false }, (response) => {
      this.#response = response;
      this.#rest = '';
      response.setEncoding('utf8');
      response.once('close', again);
      response.on('error', () => undefined);
      if (response.statusCode === 200) response.on('data', (chunk: string) => this.#read(chunk));
      else response.resume();
    }).once('error', again);
  }

  close(): void {
    this.#isClosed = true;
    this.#response?.destroy();
  }

  #read(chunk: string): void {
    const receivedMs = nowMs();
    const text = this.#rest + chunk;
    let start = 0;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n', start)) {
      this.#frame(text, start, end, receivedMs);
      start = end + 2;
    }
    this.#rest = text.slice(start);
  }

  #frame(text: string, start: number, end: number, receivedMs: number): void {
    if (!text.startsWith('id: ', start)) {
      if (text.startsWith('event: caught-up', start)) seen.caughtUp += 1;
      return;
    }
    const seq = Number(text.slice(start + 4, text.indexOf('\n', start)));
    if (seq <= this.lastSeq) {
      seen.doubled += 1;
      return;
    }
    seen.lost += seq - this.lastSeq - 1;
    this.lastSeq = seq;
    if (!isLive) return;
    const at = text.indexOf(atField, start) + atField.length;
    if (at > end) throw new Error('an event has no time');
    latencies.push(receivedMs - Date.parse(text.slice(at, text.indexOf('"', at))));
  }
}

async function until(isTrue: () => boolean, withinMs: number): Promise<boolean> {
  for (const deadline = nowMs() + withinMs; nowMs() < deadline; ) {
    if (isTrue()) return true;
    await sleep(20);
  }
  return isTrue();
}

function result(readers: readonly Reader[], { lastSeqs }: FanoutEnd, cpu: NodeJS.CpuUsage): FanoutResult {
  const { user, system } = process.cpuUsage(cpu);
  const missing = readers.reduce(
    (sum, reader) => sum + Math.max(0, (lastSeqs[reader.runId] ?? 0) - reader.lastSeq),
    0,
  );
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (share: number): number =>
    Number((sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN).toFixed(1));
  return {
    kind: 'result',
    deliveries: sorted.length,
    lost: seen.lost + missing,
    doubled: seen.doubled,
    reconnects: seen.reconnects,
    p50Ms: quantile(0.5),
    p95Ms: quantile(0.95),
    p99Ms: quantile(0.99),
    maxMs: quantile(1),
    cpuMs: (user + system) / 1_000,
  };
}

const options = fanoutReaderOptionsSchema.parse(JSON.parse(process.argv[2] ?? ''));
const readers = options.readers.map((reader) => new Reader(options.url, reader));
for (const reader of readers) {
  reader.connect();
  // Not all at once: how fast connections are accepted is not what is measured.
  await sleep(2);
}
if (!(await until(() => seen.caughtUp >= readers.length, 30_000)))
  throw new Error(`${seen.caughtUp} of ${readers.length} readers have caught up`);
isLive = true;
const cpu = process.cpuUsage();
console.log(JSON.stringify({ kind: 'ready' }));
for await (const line of createInterface({ input: process.stdin })) {
  const end = fanoutEndSchema.parse(JSON.parse(line));
  await until(
    () => readers.every((reader) => reader.lastSeq >= (end.lastSeqs[reader.runId] ?? 0)),
    end.withinMs,
  );
  console.log(JSON.stringify(result(readers, end, cpu)));
  for (const reader of readers) reader.close();
  break;
}
