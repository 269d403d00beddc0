import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import type { ClearApiToken } from '../../infra/config/tokens-file.js';
import { startApi, type TestApi } from '../support/api.js';
import { type ApiProcess, startApiProcess } from '../support/api-process.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { startTurn } from '../support/turns.js';
import {
  type FanoutEnd,
  type FanoutReaderOptions,
  type FanoutResult,
  type FanoutWriterOptions,
  fanoutReaderLineSchema,
  fanoutWriterResultSchema,
} from './fanout-options.js';
import { cpuMsOf } from './process-cpu.js';
import { median, rounded } from './statistics.js';

const runs = 50;
const readersPerRun = 10;
const eventsPerSecond = 20;
const tokens: readonly ClearApiToken[] = Array.from({ length: 10 }, (_, index) => ({
  name: `reader-${index}`,
  token: `agr_fanout_${index}_0123456789abcdef`,
  scopes: ['read'],
  tenantId: undefined,
}));
const defaultSeconds = 60;
/** Without readers, so that the API's memory is that of a process that works. */
const warmUpMs = 8_000;
/** How long the last events may take to their readers. */
const lastEventsMs = 10_000;

interface Bench {
  readonly postgres: TestPostgres;
  readonly database: TestDatabase;
  readonly process: ApiProcess;
  readonly runs: readonly { readonly runId: string; readonly token: string }[];
}

/**
 * 10,000 deliveries a second: 500 readers in one process on 50 runs, each with 20 events of 1 KiB a second that writers in another process send through
 * ingest, one API process, Postgres with fsync on. The latency is from the time that the database gives an event at its insert to the reader. The
 * memory is that of the API while it serves them, less that while it only takes the events.
 */
export async function benchFanout(): Promise<Record<string, unknown>> {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: { seconds: { type: 'string', default: String(defaultSeconds) } },
  });
  const durationMs = z.coerce.number().positive().parse(values.seconds) * 1_000;
  const postgres = await startPostgres({ durable: true });
  const database = await postgres.newDatabase();
  const api = await startApi(database);
  try {
    const served = await startRuns(api);
    const process_ = await startApiProcess({ database, keySet: api.keySet, tokens });
    try {
      return await measure({ postgres, database, process: process_, runs: served }, durationMs);
    } finally {
      await process_.stop();
    }
  } finally {
    await api.stop();
    await postgres.stop();
  }
}

async function startRuns(api: TestApi): Promise<Bench['runs']> {
  const served = [];
  for (let index = 0; index < runs; index += 1) {
    const { runId, runToken } = await startTurn(api);
    served.push({ runId, token: runToken });
  }
  return served;
}

async function measure(bench: Bench, durationMs: number): Promise<Record<string, unknown>> {
  const without = await memoryWhile(bench, () => runWriters(bench, warmUpMs));
  const readers = startReaders(bench);
  try {
    await readers.ready;
    const before = usage(bench);
    const startedAt = performance.now();
    const attended = await memoryWhile(bench, () => runWriters(bench, durationMs));
    const elapsedMs = performance.now() - startedAt;
    const after = usage(bench);
    const result = await readers.end({ lastSeqs: await lastSeqs(bench), withinMs: lastEventsMs });
    const memoryPerReaderKiB = (attended.rssKiB - without.rssKiB) / (runs * readersPerRun);
    const cpuMs = {
      api: after.api - before.api,
      postgres: after.postgres - before.postgres,
      writers: attended.result.cpuMs,
      readers: result.cpuMs,
    };
    const allMs = Object.values(cpuMs).reduce((sum, ms) => sum + ms, 0);
    console.table(
      Object.fromEntries(
        Object.entries(cpuMs).map(([name, ms]) => [
          name,
          {
            'CPU share': `${Math.round((ms / allMs) * 100)} %`,
            'of a core': `${Math.round((ms / elapsedMs) * 100)} %`,
          },
        ]),
      ),
    );
    console.table({
      without: { 'API memory MiB': Math.round(without.rssKiB / 1_024) },
      [`${runs * readersPerRun} readers`]: { 'API memory MiB': Math.round(attended.rssKiB / 1_024) },
    });
    const { kind: _kind, cpuMs: _cpuMs, ...figures } = result;
    return {
      ...figures,
      deliveriesPerSecond: Math.round((result.deliveries / attended.result.elapsedMs) * 1_000),
      eventsPerRequest: rounded(attended.result.events / attended.result.requests, 2),
      memoryPerReaderKiB: rounded(memoryPerReaderKiB, 1),
      readers: runs * readersPerRun,
      seconds: durationMs / 1_000,
    };
  } finally {
    readers.stop();
  }
}

const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const start = (name: string, options: FanoutReaderOptions | FanoutWriterOptions): ChildProcess =>
  spawn(process.execPath, ['--import', 'tsx', program(name), JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });

async function runWriters(bench: Bench, durationMs: number) {
  const accepted = await producerSeqs(bench);
  const child = start('fanout-writer-program.ts', {
    url: bench.process.url,
    runs: bench.runs.map((run) => ({ ...run, firstSeq: (accepted.get(run.runId) ?? 0) + 1 })),
    eventsPerSecond,
    durationMs,
  });
  const exited = once(child, 'exit');
  if (child.stdout === null) throw new Error('the writers have no pipe');
  const output = await text(child.stdout);
  await exited;
  if (child.exitCode !== 0) throw new Error(`the writers ended with ${child.exitCode}`);
  return fanoutWriterResultSchema.parse(JSON.parse(output.trim().split('\n').at(-1) ?? ''));
}

function startReaders(bench: Bench) {
  const child = start('fanout-reader-program.ts', {
    url: bench.process.url,
    readers: bench.runs.flatMap(({ runId }) =>
      Array.from({ length: readersPerRun }, (_, index) => ({ runId, token: tokens[index]?.token ?? '' })),
    ),
  });
  const lines = linesOf(child);
  const next = async () => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the readers ended too early');
    return fanoutReaderLineSchema.parse(JSON.parse(value));
  };
  return {
    ready: next(),
    end: async (end: FanoutEnd): Promise<FanoutResult> => {
      child.stdin?.write(`${JSON.stringify(end)}\n`);
      const line = await next();
      if (line.kind !== 'result') throw new Error('the readers answered no result');
      return line;
    },
    stop: () => child.kill('SIGKILL'),
  };
}

function linesOf({ stdout }: ChildProcess): AsyncIterator<string> {
  if (stdout === null) throw new Error('the process has no pipe');
  return createInterface({ input: stdout })[Symbol.asyncIterator]();
}

/** Memory of the API in the second half of some work: the median of looks at it. */
async function memoryWhile<T>(bench: Bench, work: () => Promise<T>): Promise<{ rssKiB: number; result: T }> {
  const looks: number[] = [];
  let isOver = false;
  const done = work().finally(() => {
    isOver = true;
  });
  // Awaited below; meanwhile nobody listens.
  done.catch(() => undefined);
  while (!isOver) {
    looks.push(rssKiBOf(bench.process.pid));
    await sleep(250);
  }
  const result = await done;
  return { rssKiB: median(looks.slice(Math.floor(looks.length / 2))), result };
}

function rssKiBOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

const usage = ({ process: { pid }, postgres }: Bench) => ({
  api: cpuMsOf(pid),
  postgres: cpuMsOf(postgres.pid, true),
});

const seqRowSchema = z.object({ run_id: z.string(), last_seq: z.number(), last_producer_seq: z.number() });

async function logRows({ database, runs: served }: Bench) {
  const found = await database.pool.query(
    'select run_id, last_seq, last_producer_seq from run_log where run_id = any($1)',
    [served.map(({ runId }) => runId)],
  );
  return z.array(seqRowSchema).parse(found.rows);
}

const lastSeqs = async (bench: Bench): Promise<Record<string, number>> =>
  Object.fromEntries((await logRows(bench)).map((row) => [row.run_id, row.last_seq]));
const producerSeqs = async (bench: Bench): Promise<ReadonlyMap<string, number>> =>
  new Map((await logRows(bench)).map((row) => [row.run_id, row.last_producer_seq]));
