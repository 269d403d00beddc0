// A process of its own with the producers of one side of the ingest bench: `tsx ingest-producer-program.ts JSON`. Its last line on stdout is its result.

import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { z } from 'zod';
import { idPrefixes } from '../../contract/ids.js';
import { ingestAnswerSchema } from '../../contract/ingest.js';
import { createRedactor, type Redactor } from '../../infra/telemetry/redaction.js';
import { newId } from '../../store/new-id.js';
import { benchEvent } from './ingest-events.js';
import {
  type ProducerOptions,
  type ProducerResult,
  producerOptionsSchema,
} from './ingest-producer-options.js';

/** Stores the events from `seq` on; they are durable when it resolves. */
type Store = (seq: number) => Promise<void>;

/** Each producer has one request or statement under way, as a runner has. */
async function produce(options: ProducerOptions): Promise<ProducerResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: options.runs.length });
  const redactor = redactorOf(options);
  const producers = await Promise.all(
    options.runs.map(async (run) => {
      if (options.side === 'api')
        return { store: overHttp(options, run, agent, redactor), close: () => Promise.resolve() };
      const client = new pg.Client({ connectionString: options.url });
      await client.connect();
      return { store: straight(client, options, run.runId), close: () => client.end() };
    }),
  );
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  const deadline = startedAt + options.durationMs;
  const counts = await Promise.all(
    producers.map(async ({ store }) => {
      let seq = 1;
      for (; performance.now() < deadline; seq += options.batch) await store(seq);
      return seq - 1;
    }),
  );
  const elapsedMs = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(cpu);
  await Promise.all(producers.map(({ close }) => close()));
  agent.destroy();
  return { events: counts.reduce((sum, count) => sum + count, 0), elapsedMs, cpuMs: (user + system) / 1_000 };
}

/** As a runner does: every string of an event is redacted before it is kept or sent. */
function overHttp(
  { url, batch }: ProducerOptions,
  run: ProducerOptions['runs'][number],
  agent: Agent,
  redactor: Redactor,
): Store {
  const headers = { authorization: `Bearer ${run.token}`, 'content-type': 'application/x-ndjson' };
  return async (first) => {
    let lines = '';
    for (let seq = first; seq < first + batch; seq += 1) {
      const event = benchEvent(seq);
      lines += `{"seq":${seq},"event":${JSON.stringify({ ...event, payload: redactor.json(event.payload) })}}\n`;
    }
    const answer = await post(`${url}/api/v1/runs/${run.runId}/ingest`, agent, headers, lines);
    if (answer.accepted !== batch) throw new Error(`${answer.accepted} of ${batch} events were accepted`);
  };
}

function post(url: string, agent: Agent, headers: Record<string, string>, lines: string) {
  const body = Buffer.from(lines);
  return new Promise<z.infer<typeof ingestAnswerSchema>>((resolve, reject) => {
    const sent = request(
      url,
      { agent, method: 'POST', headers: { ...headers, 'content-length': body.length } },
      (response) => {
        text(response)
          .then((answered) => {
            if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${answered}`);
            resolve(z.object({ data: ingestAnswerSchema }).parse(JSON.parse(answered)).data);
          })
          .catch(reject);
      },
    );
    sent.once('error', reject);
    sent.end(body);
  });
}

const columns = ['run_id', 'seq', 'event_id', 'epoch', 'producer_seq', 'type', 'at', 'payload'];

/** The baseline: one INSERT of `batch` rows with parameters, in autocommit. */
function straight(client: pg.Client, { batch, prepared }: ProducerOptions, runId: string): Store {
  const rows = Array.from(
    { length: batch },
    (_, row) => `(${columns.map((_column, index) => `$${row * columns.length + index + 1}`).join(', ')})`,
  );
  const insert = {
    ...(prepared ? { name: 'insert-events' } : {}),
    text: `insert into events (${columns.join(', ')}) values ${rows.join(', ')}`,
  };
  return async (first) => {
    const values: unknown[] = [];
    for (let seq = first; seq < first + batch; seq += 1) {
      const { type, at, payload } = benchEvent(seq);
      values.push(runId, seq, newId(idPrefixes.event), 1, seq, type, at, JSON.stringify(payload));
    }
    await client.query({ ...insert, values });
  };
}

function redactorOf({ secrets, runs }: ProducerOptions): Redactor {
  const redactor = createRedactor(secrets);
  const token = runs[0]?.token;
  if (token !== undefined) redactor.rotate('run token', token);
  return redactor;
}

console.log(JSON.stringify(await produce(producerOptionsSchema.parse(JSON.parse(process.argv[2] ?? '')))));
