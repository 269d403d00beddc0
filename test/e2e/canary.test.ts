import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createScriptedModelServer, type ScriptedModelServer } from '../../tools/scripted-model/server.js';
import {
  createSession,
  eventsToEnd,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';

/** Its encodings differ from it: it has signs that JSON and URLs escape. */
const canary = 'sk-canary/"9f+4c\\7Qm2Xv8Lr=Zt5/Wy1Kb3';

const jsonEscaped = JSON.stringify(canary).slice(1, -1);
const urlEscaped = encodeURIComponent(canary);
const base64 = Buffer.from(canary).toString('base64');
const base64Url = Buffer.from(canary).toString('base64url');
const planted = [
  `raw ${canary} end`,
  `base64 ${base64} end`,
  `base64url ${base64Url} end`,
  `basic ${Buffer.from(`user:${canary}`).toString('base64')} end`,
  `url ${urlEscaped} end`,
  `json ${jsonEscaped} end`,
  `twice ${JSON.stringify(jsonEscaped).slice(1, -1)} end`,
].join(' | ');

/** What must be found nowhere: the key in each encoding, and the middle of its base64 at each of the three alignments. */
const forbidden = [
  canary,
  jsonEscaped,
  JSON.stringify(jsonEscaped).slice(1, -1),
  urlEscaped,
  base64,
  base64Url,
  ...[0, 1, 2].map((shift) =>
    Buffer.from('x'.repeat(shift) + canary)
      .toString('base64')
      .slice(4, -4),
  ),
];
const found = (text: string) => forbidden.filter((form) => text.includes(form));

let local: LocalStack;
let model: ScriptedModelServer;
beforeAll(async () => {
  model = await createScriptedModelServer({
    scenarios: [
      ...(['unauthorized', 'context_length_exceeded', 'server_error'] as const).map((kind) => ({
        name: `leak-${kind.replaceAll('_', '-')}`,
        steps: [{ text: 'never', failure: { kind, message: planted } }],
      })),
      // A limit parks the turn, so this one ends.
      {
        name: 'leak-rate-limited',
        steps: [{ text: 'at last', failure: { kind: 'rate_limited', message: planted, times: 4 } }],
      },
      // The whole text is a key and nothing else, so each cut is inside it.
      { name: 'leak-deltas', steps: [{ text: canary, deltas: 2 }] },
      { name: 'leak-words', steps: [{ text: planted, deltas: 40 }] },
      {
        name: 'leak-cut',
        steps: [{ text: planted, deltas: 9, failure: { kind: 'stream_cut', afterDeltas: 2 } }],
      },
    ],
  });
  local = await startLocalStack(() => undefined, undefined, { provider: { key: canary, url: model.url } });
});
afterAll(async () => {
  await local?.stop();
  await model?.close();
});

const leaks = [
  'leak-unauthorized',
  'leak-rate-limited',
  'leak-context-length-exceeded',
  'leak-server-error',
  'leak-deltas',
  'leak-words',
  'leak-cut',
];
const runs: { sessionId: string; runId: string }[] = [];

describe('a provider key that the provider repeats', () => {
  it.each(leaks)('in %s is taken out of what a watcher is served', async (scenario) => {
    const sessionId = await createSession(local, {
      executionPolicy: { maxAttempts: 1, retryBackoffMs: 50, providerParkMs: 500 },
    });
    const { run } = await send(local, sessionId, `[[scenario:${scenario}]]`);
    runs.push({ sessionId, runId: run.id });
    const { events } = await eventsToEnd(local, sessionId, run.id, undefined, 60_000);
    expect(events.at(-1)?.type).toBe('terminal_status');
    expect(found(JSON.stringify(events))).toEqual([]);
  });

  it('is in no row of the database', async () => {
    const tables = await local.db.query<{ name: string }>(
      "select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'",
    );
    expect(tables.rows.length).toBeGreaterThan(10);
    for (const { name } of tables.rows) {
      const { rows } = await local.db.query<{ row: string }>(
        `select to_jsonb(t)::text as row from ${name} t`,
      );
      for (const { row } of rows) {
        expect(found(row), `a row of ${name}`).toEqual([]);
        expect(found(unescaped(row)), `a row of ${name}`).toEqual([]);
      }
    }
  });

  it('is in no log of any process', () => {
    const runners = join(local.dataDir, 'runners');
    const folders = [join(local.dataDir, 'logs'), ...readdirSync(runners).map((name) => join(runners, name))];
    const logs = folders.flatMap((folder) =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.log'))
        .map((name) => join(folder, name)),
    );
    expect(logs.length).toBeGreaterThan(leaks.length);
    for (const log of logs) expect(found(readFileSync(log, 'utf8')), log).toEqual([]);
  });

  it('is in no workflow history', async () => {
    const histories = await allHistories(local);
    expect(histories.length).toBeGreaterThan(leaks.length);
    for (const history of histories) {
      expect(found(history)).toEqual([]);
      for (const [, data] of history.matchAll(/"data":\s*"([A-Za-z0-9+/=]+)"/g))
        expect(found(Buffer.from(data ?? '', 'base64').toString('utf8'))).toEqual([]);
    }
  });

  it('is in no answer of the API', async () => {
    const paths = runs.flatMap(({ sessionId, runId }) => [
      `/api/v1/runs/${runId}`,
      `/api/v1/runs/${runId}/result`,
      `/api/v1/runs/${runId}/events?limit=1000`,
      `/api/v1/runs/${runId}/commands`,
      `/api/v1/sessions/${sessionId}`,
      `/api/v1/sessions/${sessionId}/trace?limit=1000`,
    ]);
    for (const path of [...paths, '/api/v1/sessions', '/health']) {
      const response = await fetch(`${local.stack.apiUrl}${path}`, {
        headers: { authorization: `Bearer ${local.token}` },
      });
      const text = await response.text();
      expect(found(text), path).toEqual([]);
      expect(found(unescaped(text)), path).toEqual([]);
    }
  });
});

/** Text inside JSON as a reader sees it, so that an escape hides nothing. */
function unescaped(text: string): string {
  return text.replaceAll('\\"', '"').replaceAll('\\\\', '\\');
}

const listSchema = z.object({
  executions: z
    .array(z.object({ execution: z.object({ workflowId: z.string(), runId: z.string() }) }))
    .default([]),
  nextPageToken: z.string().nullish(),
});

/** All pages of the histories of all workflows, as the JSON of Temporal's HTTP API. */
async function allHistories(stack: LocalStack): Promise<string[]> {
  const base = `${stack.stack.temporalUiUrl}/api/v1/namespaces/default/workflows`;
  const executions: { workflowId: string; runId: string }[] = [];
  for (let token = ''; ; ) {
    const response = await fetch(`${base}?next_page_token=${encodeURIComponent(token)}`);
    const page = listSchema.parse(await response.json());
    executions.push(...page.executions.map(({ execution }) => execution));
    token = page.nextPageToken ?? '';
    if (token === '') break;
  }
  const histories: string[] = [];
  for (const { workflowId, runId } of executions) {
    for (let token = ''; ; ) {
      const query = new URLSearchParams({ 'execution.runId': runId, nextPageToken: token });
      const response = await fetch(`${base}/${encodeURIComponent(workflowId)}/history?${query.toString()}`);
      expect(response.status).toBe(200);
      const text = await response.text();
      histories.push(text);
      token = z.object({ nextPageToken: z.string().nullish() }).parse(JSON.parse(text)).nextPageToken ?? '';
      if (token === '') break;
    }
  }
  return histories;
}
