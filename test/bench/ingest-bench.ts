import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { idPrefixes } from '../../contract/ids.js';
import { newId } from '../../store/new-id.js';
import { startApi, type TestApi } from '../support/api.js';
import { type ApiProcess, startApiProcess } from '../support/api-process.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { startTurn } from '../support/turns.js';
import {
  type ProducerOptions,
  type ProducerResult,
  producerResultSchema,
} from './ingest-producer-options.js';
import { cpuMsOf } from './process-cpu.js';
import { median, rounded } from './statistics.js';

const producers = 8;
const rounds = 3;
const batch = 100;
/** Of each side in each round, unless `--seconds` says otherwise. */
const sideSeconds = 30;
const warmUpMs = 2_000;

interface Bench {
  readonly postgres: TestPostgres;
  readonly database: TestDatabase;
  readonly api: TestApi;
  readonly process: ApiProcess;
  readonly prepared: boolean;
}

type Side = 'api' | 'pg';
/** Shares of the CPU time that all three used together; `usPerEvent`: what an event costs each. */
interface Sample {
  readonly eventsPerSecond: number;
  readonly share: Readonly<Record<'api' | 'producers' | 'postgres', number>>;
  readonly usPerEvent: Readonly<Record<'api' | 'producers' | 'postgres', number>>;
}

/**
 * Durable events per second through the API, in a process of its own, against the same rows put into the same table by INSERT. Postgres with fsync on; eight
 * producers in one process on both sides, each with one request or statement under way; sides interleaved, medians. In batches of 100, and one by one. The API's own process does not redact: in
 * production it is the runner that does, before it keeps or sends an event, so the producers do here.
 */
export async function benchIngest(): Promise<Record<string, unknown>> {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: {
      seconds: { type: 'string', default: String(sideSeconds) },
      // The baseline as it is written first; prepared it is cheaper.
      prepared: { type: 'boolean', default: false },
    },
  });
  const durationMs = z.coerce.number().positive().parse(values.seconds) * 1_000;
  const postgres = await startPostgres({ durable: true });
  const database = await postgres.newDatabase();
  const api = await startApi(database);
  const process_ = await startApiProcess({ database, keySet: api.keySet });
  const { prepared } = values;
  const bench: Bench = { postgres, database, api, process: process_, prepared };
  try {
    console.log(
      `1 KiB events, ${producers} producers in one process that redact as a runner does, INSERT ${prepared ? 'prepared' : 'not prepared'}; ${durationMs / 1_000} s a side, ${rounds} rounds`,
    );
    const batches = await compare(bench, batch, durationMs);
    const singles = await compare(bench, 1, durationMs);
    return {
      ratio: { batch: ratioOf(batches), single: ratioOf(singles) },
      eventsPerSecond: { batch: rates(batches), single: rates(singles) },
      cpuUsPerEvent: { batch: costs(batches), single: costs(singles) },
      seconds: durationMs / 1_000,
      rounds,
      prepared,
      fsync: true,
    };
  } finally {
    await process_.stop();
    await api.stop();
    await postgres.stop();
  }
}

type Samples = Readonly<Record<Side, readonly Sample[]>>;

async function compare(bench: Bench, size: number, durationMs: number): Promise<Samples> {
  // Warms both sides: prepared statements, compiled code, files of the table. Not counted.
  for (const side of ['api', 'pg'] as const) await measure(bench, side, size, warmUpMs);
  const samples: Record<Side, Sample[]> = { api: [], pg: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const side of ['api', 'pg'] as const)
      samples[side].push(await measure(bench, side, size, durationMs));
  }
  console.table(
    samples.api.flatMap((_, round) =>
      (['api', 'pg'] as const).map((side) => {
        const sample = samples[side][round];
        return {
          side: side === 'api' ? `API, ${size} a request` : `pg, ${size} an INSERT`,
          round: round + 1,
          'events/s': sample?.eventsPerSecond,
          ...Object.fromEntries(
            Object.entries(sample?.share ?? {}).map(([name, share]) => [`${name} CPU`, `${share} %`]),
          ),
        };
      }),
    ),
  );
  return samples;
}

async function measure(bench: Bench, side: Side, size: number, durationMs: number): Promise<Sample> {
  const runs = await Promise.all(
    Array.from({ length: producers }, async () => {
      if (side === 'pg') return { runId: newId(idPrefixes.run), token: '' };
      const { runId, runToken } = await startTurn(bench.api);
      return { runId, token: runToken };
    }),
  );
  const before = usage(bench);
  const result = await runProducers({
    side,
    url: side === 'api' ? bench.process.url : bench.database.url,
    prepared: bench.prepared,
    batch: size,
    durationMs,
    runs,
    // A provider's key, the placeholder of the proxy, the tokens of launch and runner.
    secrets: [`sk-${randomBytes(24).toString('hex')}`, randomBytes(24).toString('base64url'), ...tokens],
  });
  const after = usage(bench);
  await requireStored(bench, runs, result.events);
  const cpuMs = {
    api: after.api - before.api,
    producers: result.cpuMs,
    postgres: after.postgres - before.postgres,
  };
  const allMs = cpuMs.api + cpuMs.producers + cpuMs.postgres;
  const each = (value: (ms: number) => number) => ({
    api: value(cpuMs.api),
    producers: value(cpuMs.producers),
    postgres: value(cpuMs.postgres),
  });
  return {
    eventsPerSecond: Math.round((result.events / result.elapsedMs) * 1_000),
    share: each((ms) => Math.round((ms / allMs) * 100)),
    usPerEvent: each((ms) => rounded((ms * 1_000) / result.events, 1)),
  };
}

/** As long as a token of a runner is. */
const tokens = [0, 1].map(() => `eyJ${randomBytes(300).toString('base64url')}`);

const usage = ({ process: { pid }, postgres }: Bench) => ({
  api: cpuMsOf(pid),
  postgres: cpuMsOf(postgres.pid, true),
});

async function runProducers(options: ProducerOptions): Promise<ProducerResult> {
  const program = fileURLToPath(new URL('ingest-producer-program.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const output = await text(child.stdout);
  const code = await exited;
  if (code !== 0) throw new Error(`the producers ended with ${code}`);
  return producerResultSchema.parse(JSON.parse(output.trim().split('\n').at(-1) ?? ''));
}

/** What was counted is in the table. */
async function requireStored(
  { database }: Bench,
  runs: readonly { readonly runId: string }[],
  events: number,
): Promise<void> {
  const found = await database.pool.query<{ stored: number }>(
    `select coalesce(sum((select e.producer_seq from events e where e.run_id = n.run_id and e.producer_seq is not null order by e.seq desc limit 1)), 0)::bigint
       as stored from unnest($1::text[]) as n(run_id)`,
    [runs.map(({ runId }) => runId)],
  );
  if (found.rows[0]?.stored !== events)
    throw new Error(`${found.rows[0]?.stored} of ${events} events are stored`);
}

const rates = (samples: Samples) => ({
  api: median(samples.api.map(({ eventsPerSecond }) => eventsPerSecond)),
  pg: median(samples.pg.map(({ eventsPerSecond }) => eventsPerSecond)),
});
const ratioOf = (samples: Samples) => rounded(rates(samples).api / rates(samples).pg, 3);
const costs = (samples: Samples) => {
  const of = (side: Side) => {
    const each = (name: keyof Sample['usPerEvent']) =>
      median(samples[side].map(({ usPerEvent }) => usPerEvent[name]));
    return { api: each('api'), producers: each('producers'), postgres: each('postgres') };
  };
  return { api: of('api'), pg: of('pg') };
};
