import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { readStackFile } from '../../cli/stack/stack-file.js';
import { type Stack, startStack } from '../../cli/stack/start-stack.js';
import { watchSession } from '../../cli/watch-session.js';
import { type ApiClient, createApiClient, isRetryable, RawBody } from '../../client/index.js';
import type { RunEvent } from '../../contract/events.js';
import { routes } from '../../contract/routes/index.js';
import type { RunRecord, RunResult } from '../../contract/runs.js';
import type { SendAnswer } from '../../contract/sessions.js';
import { readStackConfig, type StackConfig } from '../../infra/config/stack-config.js';
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

/** What a test wants of its stack beside the defaults. */
export interface LocalStackSettings {
  /** The address that everything listens at. Default: loopback. */
  readonly host?: string;
  /** How long a warm runner waits for its session's next turn. */
  readonly runnerIdleTimeoutMs?: number;
  /** A scripted model server that the test runs itself, and the key that it is to be given. */
  readonly provider?: { readonly key: string; readonly url: string };
  /** Variables of the API and the worker. */
  readonly variables?: Readonly<Record<string, string>>;
}

/** In a new folder on free ports; or in a given one, on the ports that it had before. */
export async function startLocalStack(
  log: (line: string) => void,
  dataDir?: string,
  settings: LocalStackSettings = {},
): Promise<LocalStack> {
  const folder = dataDir === undefined ? makeDataFolder() : { path: dataDir, remove: () => undefined };
  const stack = await startStack({
    config: stackConfig(settings),
    dataDir: folder.path,
    ...(settings.host === undefined ? {} : { host: settings.host }),
    // The ports of a folder that was never used are free ones too.
    ports: dataDir === undefined || readStackFile(dataDir) === undefined ? 'any' : 'usual',
    log,
  });
  const token = readFileSync(stack.apiTokenFile, 'utf8').trim();
  const scriptedUrl = settings.provider?.url ?? stack.scriptedUrl;
  if (scriptedUrl === null)
    throw new Error('this needs the scripted model server: unset the provider settings');
  const db = new pg.Pool({ connectionString: readFileSync(stack.databaseUrlFile, 'utf8').trim(), max: 2 });
  db.on('error', () => undefined);
  return {
    stack,
    dataDir: folder.path,
    client: createApiClient({ baseUrl: stack.apiUrl, token: () => token }),
    token,
    scriptedUrl,
    db,
    stop: async () => {
      if (!db.ended) await db.end();
      await stack.stop();
      folder.remove();
    },
  };
}

function stackConfig({ runnerIdleTimeoutMs, provider, variables }: LocalStackSettings): StackConfig {
  const config = readStackConfig();
  return {
    ...config,
    ...(provider === undefined
      ? {}
      : { provider: { key: provider.key, baseUrl: `${provider.url}/v1`, model: 'scripted-1' } }),
    passedOn: {
      ...config.passedOn,
      ...variables,
      ...(runnerIdleTimeoutMs === undefined
        ? {}
        : { AGENTRUN_RUNNER_IDLE_TIMEOUT_MS: String(runnerIdleTimeoutMs) }),
    },
  };
}

/** Creates a session and answers its id. */
export async function createSession(local: LocalStack, body: Record<string, unknown> = {}): Promise<string> {
  const created = await local.client.call(routes.createSession, {
    body: RawBody.json({ tenantId: 'test', projectId: 'test', ...body }),
  });
  return created.session.sessionId;
}

export async function send(
  local: LocalStack,
  sessionId: string,
  prompt: string,
  over: Record<string, unknown> = {},
): Promise<SendAnswer> {
  const answer = await local.client.call(routes.send, {
    params: { sessionId },
    body: RawBody.json({ prompt, ...over }),
  });
  if (answer.dryRun) throw new Error('the API answered a plan to a message');
  return answer;
}

/** As {@link send}; while the answer is 503 it is repeated with its key, as a client does whose worker or Temporal is just coming back. */
export function sendWithRepeats(
  local: LocalStack,
  sessionId: string,
  prompt: string,
  over: Record<string, unknown> = {},
): Promise<SendAnswer> {
  const idempotencyKey = randomUUID();
  return eventually('the message is decided', async () => {
    try {
      return await send(local, sessionId, prompt, { idempotencyKey, ...over });
    } catch (error) {
      if (isRetryable(error)) return undefined;
      throw error;
    }
  });
}

export function getRun(local: LocalStack, runId: string): Promise<RunRecord> {
  return local.client.call(routes.getRun, { params: { runId } });
}

export function getResult(local: LocalStack, runId: string): Promise<RunResult> {
  return local.client.call(routes.getRunResult, { params: { runId } });
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
    onFrames: ([frame]) => {
      if (frame?.frame !== 'event') return;
      events.push(frame.data);
      onEvent(frame.data);
      if (frame.data.type === 'terminal_status' && frame.data.runId === runId) stop.abort();
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
  everyMs = 50,
): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
