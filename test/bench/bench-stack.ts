import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { startStack, type Stack } from '../../cli/stack/start-stack.js';
import { watchSession } from '../../cli/watch-session.js';
import { type ApiClient, createApiClient } from '../../client/index.js';
import { sendAnswerSchema, sessionRecordSchema } from '../../contract/sessions.js';
import { makeDataFolder } from '../support/data-folder.js';

/** A whole local stack in a folder of its own, for measuring. */
export interface BenchStack {
  readonly client: ApiClient;
  readonly scriptedUrl: string;
  readonly temporalUiUrl: string;
  stop(): Promise<void>;
}

export async function startBenchStack(): Promise<BenchStack> {
  const folder = makeDataFolder();
  const stack: Stack = await startStack({ dataDir: folder.path, ports: 'any', log: (line) => console.log(`  ${line}`) });
  const token = readFileSync(stack.apiTokenFile, 'utf8').trim();
  if (stack.scriptedUrl === null) throw new Error('the bench needs the scripted model server: unset the provider settings');
  return {
    client: createApiClient({ baseUrl: stack.apiUrl, token: () => token }),
    scriptedUrl: stack.scriptedUrl,
    temporalUiUrl: stack.temporalUiUrl,
    stop: async () => {
      await stack.stop();
      folder.remove();
    },
  };
}

const createdSchema = z.object({ session: sessionRecordSchema });

export async function createSession(stack: BenchStack, executionPolicy: Record<string, number> = {}): Promise<string> {
  const created = await stack.client.request(createdSchema, 'POST', ['api', 'v1', 'sessions'], {
    body: { tenantId: 'bench', projectId: 'bench', executionPolicy },
  });
  return created.session.sessionId;
}

/** Sends a prompt and waits until a watcher sees the end of its turn. The time is the one a user waits. */
export async function timedTurn(
  stack: BenchStack,
  sessionId: string,
  prompt: string,
  limitMs = 60_000,
): Promise<{ runId: string; elapsedMs: number }> {
  const startedAt = performance.now();
  const answer = await stack.client.request(sendAnswerSchema, 'POST', ['api', 'v1', 'sessions', sessionId, 'send'], {
    body: { prompt },
  });
  let elapsedMs: number | undefined;
  const status = await watchSession({
    client: stack.client,
    sessionId,
    from: { runId: answer.run.id, seq: 0 },
    follow: false,
    signal: AbortSignal.timeout(limitMs),
    onEvent: (event) => {
      if (event.type === 'terminal_status') elapsedMs = performance.now() - startedAt;
    },
  });
  if (status !== 'completed' || elapsedMs === undefined) throw new Error(`the turn ended ${status ?? 'too late'}`);
  return { runId: answer.run.id, elapsedMs };
}
