import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunnerTokens } from '../../infra/tokens/runner-tokens.js';
import { createScriptedModelServer, type ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { sendEverywhere } from '../support/canary-requests.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.js';
import { supervisorOf } from '../support/runner-processes.js';
import { allHistories } from '../support/workflow-histories.js';

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

/** What must be found nowhere: a secret in each encoding, and the middle of its base64 at each of the three alignments. */
const formsOf = (secret: string): string[] => [
  secret,
  JSON.stringify(secret).slice(1, -1),
  JSON.stringify(JSON.stringify(secret).slice(1, -1)).slice(1, -1),
  encodeURIComponent(secret),
  Buffer.from(secret).toString('base64'),
  Buffer.from(secret).toString('base64url'),
  ...[0, 1, 2].map((shift) =>
    Buffer.from('x'.repeat(shift) + secret)
      .toString('base64')
      .slice(4, -4),
  ),
];
const forbidden = formsOf(canary);
const found = (text: string) => forbidden.filter((form) => text.includes(form));

let local: LocalStack;
let model: ScriptedModelServer;
let collector: OtlpReceiver;
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
      { name: 'leak-hold', steps: [{ text: planted, deltas: 400, deltaMs: 100 }] },
      // The whole text is a key and nothing else, so each cut is inside it.
      { name: 'leak-deltas', steps: [{ text: canary, deltas: 2 }] },
      { name: 'leak-words', steps: [{ text: planted, deltas: 40 }] },
      {
        name: 'leak-cut',
        steps: [{ text: planted, deltas: 9, failure: { kind: 'stream_cut', afterDeltas: 2 } }],
      },
    ],
  });
  collector = await startOtlpReceiver();
  local = await startLocalStack(() => undefined, undefined, {
    provider: { key: canary, url: model.url },
    variables: {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      AGENTRUN_METRICS_PORT: '0',
      AGENTRUN_LOG_LEVEL: 'debug',
      AGENTRUN_RATE_LIMIT_PER_MINUTE: '100000',
    },
  });
});
afterAll(async () => {
  await local?.stop();
  await collector?.close();
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
});

describe('secrets that callers put where none belongs', () => {
  const gitKey = 'ghq-canary-2Vd8Kx0Pz6Rn4Tb1';
  const repository = `https://builder:${gitKey}@git.example.com/team/project.git`;

  it('in the URL of a repository are refused, by every route that takes one', async () => {
    const owner = { tenantId: 'test', projectId: 'test' };
    const sessionId = await createSession(local);
    const attempts: [string, Record<string, unknown>][] = [
      ['/api/v1/sessions', { ...owner, workspace: { repository } }],
      ['/api/v1/runs', { ...owner, workspace: { repository } }],
      [`/api/v1/sessions/${sessionId}/send`, { prompt: 'x', run: { workspace: { repository } } }],
      [
        `/api/v1/sessions/${sessionId}/send`,
        { prompt: 'x', run: { workspace: { repository: `https://${gitKey}@git.example.com/x` } } },
      ],
      ['/api/v1/queue/tasks', { ...owner, payload: { prompt: 'x' }, workspace: { repository } }],
    ];
    forbidden.push(...formsOf(gitKey));
    for (const [path, body] of attempts) {
      const response = await fetch(`${local.stack.apiUrl}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${local.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      expect([path, response.status]).toEqual([path, 400]);
      expect(text).toContain('credential');
      expect(found(text), path).toEqual([]);
    }
  });

  it('are in no answer of any route', async () => {
    const tokens = await RunnerTokens.fromFile(local.stack.paths.runnerKeysFile);
    const runId = 'run_00000000000000000000000000';
    const job = { job: 'canary-job', jobId: 'job_00000000000000000000000000' };
    const [run, runner, launch] = await Promise.all([
      tokens.mintRun({ runnerId: 'canary', runId, epoch: 1, jobName: job.job }),
      tokens.mintRunner({ runner: 'canary', job: job.job, session: 'canary' }, Date.now() + 600_000),
      tokens.mintLaunch({ run: runId, epoch: 1, ...job }, 600_000),
    ]);
    const secrets = {
      'API token': local.token,
      'run token': run.token,
      'runner token': runner.token,
      'launch token': launch.token,
      'git key': gitKey,
      'provider key': canary,
    };
    for (const secret of Object.values(secrets)) forbidden.push(...formsOf(secret));
    const answers = await sendEverywhere(local, secrets);
    expect(answers.length).toBeGreaterThan(500);
    for (const { what, text, echo } of answers) if (!echo) expect(found(text), what).toEqual([]);
    expect(answers.filter(({ status }) => status >= 500)).toEqual([]);
  }, 90_000);

  it('are in no answer when the API itself fails', async () => {
    await local.db.query('alter table sessions rename to sessions_away');
    try {
      const response = await fetch(
        `${local.stack.apiUrl}/api/v1/sessions?cursor=&projectId=${encodeURIComponent(gitKey)}`,
        { headers: { authorization: `Bearer ${local.token}`, 'x-canary': gitKey } },
      );
      expect(response.status).toBeGreaterThanOrEqual(500);
      expect(found(await response.text())).toEqual([]);
    } finally {
      await local.db.query('alter table sessions_away rename to sessions');
    }
  });

  it('are in no event of a runner that ended suddenly', async () => {
    const sessionId = await createSession(local, { executionPolicy: { maxAttempts: 1, leaseMs: 1_000 } });
    const { run } = await send(local, sessionId, '[[scenario:leak-hold]]');
    const jobName = await eventually('the runner', async () => {
      const { rows } = await local.db.query<{ job_name: string }>(
        'select job_name from attempts where run_id = $1 and claimed_by is not null',
        [run.id],
      );
      return rows[0]?.job_name;
    });
    const supervisor = supervisorOf(local.dataDir, jobName);
    if (supervisor !== undefined) process.kill(supervisor.pid, 'SIGKILL');
    const { events } = await eventsToEnd(local, sessionId, run.id, undefined, 60_000);
    runs.push({ sessionId, runId: run.id });
    expect(found(JSON.stringify(events))).toEqual([]);
  });
});

describe('afterwards a secret', () => {
  it('is in no metric', async () => {
    for (const name of ['api', 'worker']) {
      const log = readFileSync(join(local.dataDir, 'logs', `${name}.log`), 'utf8');
      const port = /"port":(\d+),"msg":"metrics are served"/.exec(log)?.[1];
      const response = await fetch(`http://127.0.0.1:${port}/metrics`);
      expect(response.status).toBe(200);
      const text = await response.text();
      expect(text).toContain('agentrun_');
      expect(found(text), name).toEqual([]);
    }
  });

  it('is in no trace', async () => {
    await eventually('spans of every process', () => {
      const services = new Set(collector.spans.map((span) => span.service));
      return services.size === 3 ? true : undefined;
    });
    for (const span of collector.spans) expect(found(JSON.stringify(span)), span.name).toEqual([]);
    for (const body of collector.bodies) expect(found(body.toString('latin1'))).toEqual([]);
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
