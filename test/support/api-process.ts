import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import type { ClearApiToken } from '../../infra/config/tokens-file.js';
import { apiTokens, newKeySet } from './api.js';

const readyMs = 30_000;
const stopMs = 15_000;
const linesKept = 5_000;
const portSchema = z.object({ msg: z.enum(['ready', 'metrics are served']), port: z.number() });

/** The built API (`dist/api/main.js`) as a process of its own. */
export interface ApiProcess {
  readonly url: string;
  readonly pid: number;
  /** Its tokens file, read again by the process when it changes. */
  readonly tokensFile: string;
  /** Its metrics, as text. */
  metrics(): Promise<string>;
  /** What it logged so far, one JSON object a line; the latest {@link linesKept} lines. */
  log(): string;
  /** SIGTERM, and SIGKILL when it has not ended in time. Resolves with its exit code; null after a kill. May be called again. */
  stop(): Promise<number | null>;
  /** SIGKILL. May be called again. */
  kill(): Promise<void>;
}

/**
 * Starts the API as another process over the database of a test, with the tokens of test/support/api.ts and no Temporal. `npm run build` comes first.
 * Stop it before its database.
 *
 * @throws Error with what it wrote when it does not become ready.
 */
export async function startApiProcess(options: {
  readonly database: { readonly url: string };
  /** `keySet` of the API that shares the runners. Default: a new one. */
  readonly keySet?: ReturnType<typeof newKeySet>;
  readonly tokens?: readonly ClearApiToken[];
  /** Settings beside, or instead of, those of this function. */
  readonly env?: Readonly<Record<string, string>>;
}): Promise<ApiProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'agentrun-api-process-'));
  const tokensFile = join(folder, 'tokens.json');
  const keysFile = join(folder, 'keys.json');
  writeFileSync(tokensFile, JSON.stringify(options.tokens ?? apiTokens));
  writeFileSync(keysFile, JSON.stringify(options.keySet ?? newKeySet('test-1')));
  const child = spawn(process.execPath, ['dist/api/main.js'], {
    cwd: packageRoot(),
    env: childEnvironment({
      DATABASE_URL: options.database.url,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      AGENTRUN_API_PORT: '0',
      AGENTRUN_API_TOKENS_FILE: tokensFile,
      AGENTRUN_RUNNER_KEYS_FILE: keysFile,
      AGENTRUN_RATE_LIMIT_PER_MINUTE: '0',
      AGENTRUN_METRICS_PORT: '0',
      ...options.env,
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = child.exitCode === null ? once(child, 'exit') : Promise.resolve();
  const ended = exited.then(() => rmSync(folder, { recursive: true, force: true }));
  const killAndWait = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  const lines = linesOf(child);
  let ports: Ports;
  try {
    ports = await Promise.race([lines.ports, failAfter(readyMs, 'the API is not ready in time')]);
  } catch (error) {
    await killAndWait();
    throw new Error(`${String(error)}\n${lines.text()}`);
  }
  return {
    url: `http://127.0.0.1:${ports.api}`,
    pid: child.pid ?? 0,
    tokensFile,
    metrics: async () => (await fetch(`http://127.0.0.1:${ports.metrics}/metrics`)).text(),
    log: () => lines.text(),
    kill: killAndWait,
    stop: async () => {
      child.kill('SIGTERM');
      const late = new AbortController();
      await Promise.race([ended, sleep(stopMs, undefined, { signal: late.signal }).catch(() => undefined)]);
      late.abort();
      await killAndWait();
      return child.exitCode;
    },
  };
}

interface Ports {
  readonly api: number;
  readonly metrics: number;
}

/** Reads the output until the end, so that the process never waits for its reader. */
function linesOf(child: ChildProcess): { readonly ports: Promise<Ports>; text(): string } {
  const kept: string[] = [];
  const keep = (line: string) => {
    kept.push(line);
    if (kept.length > linesKept) kept.shift();
  };
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error('the process has no pipes');
  createInterface({ input: stderr }).on('line', keep);
  const ports = new Promise<Ports>((resolve, reject) => {
    let metrics = 0;
    createInterface({ input: stdout })
      .on('line', (line) => {
        keep(line);
        const said = line.includes('"port"') ? portSchema.safeParse(JSON.parse(line)) : undefined;
        if (said?.data?.msg === 'metrics are served') metrics = said.data.port;
        if (said?.data?.msg === 'ready') resolve({ api: said.data.port, metrics });
      })
      .on('close', () => reject(new Error('the API ended before it was ready')));
    child.once('error', reject);
  });
  ports.catch(() => undefined);
  return { ports, text: () => kept.join('\n') };
}

async function failAfter(timeMs: number, message: string): Promise<never> {
  await sleep(timeMs, undefined, { ref: false });
  throw new Error(message);
}
