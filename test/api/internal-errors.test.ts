import { afterAll, describe, expect, it } from 'vitest';
import { routeTable } from '../../api/routes/index.js';
import { errorEnvelopeSchema } from '../../contract/envelope.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { createPool, type Pool } from '../../store/pool.js';
import { type ApiAnswer, fakeGateway, startApi, type TestApi } from '../support/api.js';
import { newSessionId, owner } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database } = await useApi();

const password = 'canary-password-5b1f2e';
const secretUrl = `postgres://agentrun:${password}@db.internal:5432/agentrun`;

/** An API whose log is kept. */
async function startLogged(options: Parameters<typeof startApi>[1]): Promise<TestApi & { log: string[] }> {
  const log: string[] = [];
  const destination = { write: (line: string) => void log.push(line) };
  const redactor = createRedactor([secretUrl, password]);
  const logger = createLogger({ name: 'test-api', level: 'debug', redactor, destination });
  return { ...(await startApi(database, { ...options, logger })), log };
}

/** The answer is in the envelope and says nothing of the inside; the log has the cause under its trace id, without the secret. */
function expectSilent(answer: ApiAnswer, log: readonly string[], status: number, failureKind: string): void {
  expect([answer.status, answer.body.failureKind]).toEqual([status, failureKind]);
  const { traceId } = errorEnvelopeSchema.parse(answer.body);
  const shown = answer.text + JSON.stringify([...answer.headers]);
  expect(shown).not.toMatch(/canary|internal:5432|postgres:\/\/|select |insert |relation|\bat .*\.(ts|js)/i);
  const lines = log.filter((line) => line.includes(traceId)).join('');
  expect(lines).toContain('"level":"error"');
  expect(log.join('')).not.toContain('canary');
}

describe('a handler that throws', () => {
  const thrown: [string, unknown][] = [
    ['a connection string', new Error(`connect failed: ${secretUrl}`)],
    ['a cause with a connection string', new Error('no answer', { cause: new Error(secretUrl) })],
    ['text', `cannot reach ${secretUrl}`],
    ['nothing', undefined],
  ];
  it.each(thrown)('%s is 500 and says nothing of it', async (_name, error) => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
    const send = () => Promise.reject(error);
    const api = await startLogged({ gateway: { ...fakeGateway(database.pool), send } });
    try {
      const answer = await api.call('POST', `/api/v1/sessions/${newSessionId()}/send`, {
        body: { prompt: 'x', run: owner },
      });
      expectSilent(answer, api.log, 500, 'infra-failed');
    } finally {
      await api.stop();
    }
  });
});

describe('a database that refuses', () => {
  const open: Pool[] = [];
  afterAll(() => Promise.all(open.map((pool) => pool.end())));
  const pool = (connectionString: string): Pool => {
    const made = createPool({ connectionString, applicationName: 'test', onError: () => undefined });
    open.push(made);
    return made;
  };

  it('is 503 on every reading route when it is not there', async () => {
    const api = await startLogged({ pool: pool(secretUrl.replace('db.internal:5432', '127.0.0.1:1')) });
    try {
      for (const { contract } of routeTable(api.deps)) {
        if (contract.method !== 'get' || contract.auth === 'none' || contract.auth.api === undefined)
          continue;
        const path = contract.path.replaceAll(/:(\w+)Id/g, (_all, word: string) => knownIds[word] ?? 'x');
        const answer = await api.call('GET', path);
        // What asks no database answers.
        if (answer.status === 200) continue;
        expectSilent(answer, api.log, 503, 'unavailable');
        expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
      }
    } finally {
      await api.stop();
    }
  });

  it('is 500 without its words when a table is not there', async () => {
    const empty = new URL(database.url);
    empty.pathname = '/postgres';
    const api = await startLogged({ pool: pool(empty.href) });
    try {
      expectSilent(await api.call('GET', '/api/v1/sessions/s1'), api.log, 500, 'infra-failed');
    } finally {
      await api.stop();
    }
  });
});

const knownIds: Readonly<Record<string, string>> = {
  run: 'run_00000000000000000000000000',
  command: 'cmd_00000000000000000000000000',
  task: 'task_00000000000000000000000000',
  runnerJob: 'job_00000000000000000000000000',
  webhook: 'whk_00000000000000000000000000',
  delivery: 'dlv_00000000000000000000000000',
};
