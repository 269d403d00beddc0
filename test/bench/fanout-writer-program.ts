// A process of its own with the writers of the fan-out bench: `tsx fanout-writer-program.ts JSON`. Its last line on stdout is its result.

import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FanoutWriterOptions, fanoutWriterOptionsSchema } from './fanout-options.js';
import { benchEvent } from './ingest-events.js';

const maxAttempts = 30;
const retryMs = 200;

/** As a runner sends: one request in flight, and what fell due meanwhile goes with the next. */
async function write(
  { url, eventsPerSecond, durationMs }: FanoutWriterOptions,
  run: FanoutWriterOptions['runs'][number],
  agent: Agent,
): Promise<{ events: number; requests: number }> {
  const everyMs = 1_000 / eventsPerSecond;
  const startedAt = performance.now() + Math.random() * everyMs;
  const total = Math.floor(durationMs / everyMs);
  let events = 0;
  let requests = 0;
  while (events < total) {
    const dueAt = startedAt + events * everyMs;
    const waitMs = dueAt - performance.now();
    if (waitMs > 0) await sleep(waitMs);
    const due = Math.min(total, Math.floor((performance.now() - startedAt) / everyMs) + 1) - events;
    let lines = '';
    for (let index = 0; index < due; index += 1) {
      const seq = run.firstSeq + events + index;
      // Without a time of its own an event has that of the database at its insert.
      const { type, payload } = benchEvent(seq);
      lines += `${JSON.stringify({ seq, event: { type, payload } })}\n`;
    }
    if (lines === '') continue;
    for (
      let attempt = 1;
      !(await post(`${url}/api/v1/runs/${run.runId}/ingest`, run.token, lines, agent));
    ) {
      // The same again is stored once.
      if (attempt++ === maxAttempts) throw new Error(`run ${run.runId}: the API is overloaded for too long`);
      await sleep(retryMs);
    }
    events += due;
    requests += 1;
  }
  return { events, requests };
}

/** False when it is to be sent again. */
function post(url: string, token: string, lines: string, agent: Agent): Promise<boolean> {
  const body = Buffer.from(lines);
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/x-ndjson',
    'content-length': body.length,
  };
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method: 'POST', headers }, (response) => {
      text(response)
        .then((answer) => {
          if (response.statusCode === 200 || response.statusCode === 503)
            resolve(response.statusCode === 200);
          else reject(new Error(`${response.statusCode} ${answer}`));
        })
        .catch(reject);
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

const options = fanoutWriterOptionsSchema.parse(JSON.parse(process.argv[2] ?? ''));
const agent = new Agent({ keepAlive: true, maxSockets: options.runs.length });
const cpu = process.cpuUsage();
const startedAt = performance.now();
const counts = await Promise.all(options.runs.map((run) => write(options, run, agent)));
const { user, system } = process.cpuUsage(cpu);
agent.destroy();
console.log(
  JSON.stringify({
    events: counts.reduce((sum, { events }) => sum + events, 0),
    requests: counts.reduce((sum, { requests }) => sum + requests, 0),
    elapsedMs: performance.now() - startedAt,
    cpuMs: (user + system) / 1_000,
  }),
);
