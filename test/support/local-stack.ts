import { readFileSync } from 'node:fs';
import pg from 'pg';
import { z } from 'zod';
import { type Stack, startStack } from '../../cli/stack/start-stack.js';
import { watchSession } from '../../cli/watch-session.js';
import { type ApiClient, createApiClient } from '../../client/index.js';
import type { RunEvent } from '../../contract/events.js';
import { type RunRecord, runRecordSchema } from '../../contract/runs.js';
import { type SendAnswer, sendAnswerSchema, sessionRecordSchema } from '../../contract/sessions.js';
import { makeDataFolder } from './data-folder.js';

/** A whole local stack in a folder of its own: real Postgres, Temporal, worker, API, and the scripted model server. */
export interface LocalStack {
  readonly stack: Stack;
  readonly dataDir: string;
  readonly client: ApiClient;
  readonly token: string;
  readonly scriptedUrl: string;
  readonly db: pg.Pool;
  stop(): Promise<void>;
}

/** In a new folder on free ports; or in a given one, on the ports that it had before. */
export async function startLocalStack(log: (line: string) => void, dataDir?: string): Promise<LocalStack> {
  const folder = dataDir === undefined ? makeDataFolder() : { path: dataDir, remove: () => undefined };
  const stack = await startStack({
    dataDir: folder.path,
    ports: dataDir === undefined ? 'any' : 'usual',
    log,
  });
  const token = readFileSync(stack.apiTokenFile, 'utf8').trim();
  if (stack.scriptedUrl === null)
    throw new Error('this needs the scripted model server: unset the provider settings');
  const db = new pg.Pool({ connectionString: readFileSync(stack.databaseUrlFile, 'utf8').trim(), max: 2 });
  db.on('error', () => undefined);
  return {
    stack,
    dataDir: folder.path,
    client: createApiClient({ baseUrl: stack.apiUrl, token: () => token }),
    token,
    scriptedUrl: stack.scriptedUrl,
    db,
    stop: async () => {
      if (!db.ended) await db.end();
      await stack.stop();
      folder.remove();
    },
  };
}

const createdSchema = z.object({ session: sessionRecordSchema });

/** Creates a session and answers its id. */
export async function createSession(local: LocalStack, body: Record<string, unknown> = {}): Promise<string> {
  const created = await local.client.request(createdSchema, 'POST', ['api', 'v1', 'sessions'], {
    body: { tenantId: 'test', projectId: 'test', ...body },
  });
  return created.session.sessionId;
}

export function send(
  local: LocalStack,
  sessionId: string,
  prompt: string,
  over: Record<string, unknown> = {},
): Promise<SendAnswer> {
  return local.client.request(sendAnswerSchema, 'POST', ['api', 'v1', 'sessions', sessionId, 'send'], {
    body: { prompt, ...over },
  });
}

export function getRun(local: LocalStack, runId: string): Promise<RunRecord> {
  return local.client.request(runRecordSchema, 'GET', ['api', 'v1', 'runs', runId]);
}

/** Watches a run to its end; every event once, in order. */
export async function eventsToEnd(
  local: LocalStack,
  sessionId: string,
  runId: string,
  onEvent: (event: RunEvent) => void = () => undefined,
  limitMs = 60_000,
): Promise<{ events: RunEvent[]; status: string | null }> {
  const events: RunEvent[] = [];
  const stop = new AbortController();
  await watchSession({
    client: local.client,
    sessionId,
    from: { runId, seq: 0 },
    follow: false,
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(limitMs)]),
    onEvents: (page) => {
      events.push(...page);
      page.forEach(onEvent);
      if (page.some((event) => event.type === 'terminal_status' && event.runId === runId)) stop.abort();
    },
  });
  const last = events.at(-1);
  const status = last?.type === 'terminal_status' ? last.payload.terminalStatus : null;
  return {
    events: events.filter((event) => event.runId === runId),
    status: typeof status === 'string' ? status : null,
  };
}

/** Waits until `probe` answers something, at most `limitMs`; the error says what was waited for. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  limitMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
