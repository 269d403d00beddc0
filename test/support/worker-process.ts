import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { newKeySet } from './api.js';

const readyMs = 45_000;

/** The built worker (`dist/worker/main.js`) as a process of its own. */
export interface WorkerProcess {
  /** SIGKILL, and the end of the process. May be called again. */
  kill(): Promise<void>;
}

/**
 * Starts a worker that starts no runners, over the database of a test and a Temporal server. `npm run build` comes first.
 *
 * @throws Error with what it wrote when it does not become ready.
 */
export async function startWorkerProcess(options: {
  readonly database: { readonly url: string };
  readonly temporalAddress: string;
  readonly webhookKey: string;
  readonly env?: Readonly<Record<string, string>>;
}): Promise<WorkerProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'agentrun-worker-process-'));
  const keysFile = join(folder, 'keys.json');
  const webhookKeyFile = join(folder, 'webhook-key');
  writeFileSync(keysFile, JSON.stringify(newKeySet('test-1')));
  writeFileSync(webhookKeyFile, options.webhookKey, { mode: 0o600 });
  const child = spawn(process.execPath, ['dist/worker/main.js'], {
    cwd: packageRoot(),
    env: childEnvironment({
      DATABASE_URL: options.database.url,
      TEMPORAL_ADDRESS: options.temporalAddress,
      AGENTRUN_RUNNER_KEYS_FILE: keysFile,
      AGENTRUN_WEBHOOK_KEY_FILE: webhookKeyFile,
      AGENTRUN_DATA_DIR: folder,
      AGENTRUN_LAUNCHER: 'external',
      ...options.env,
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit');
  const kill = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  let said = '';
  const ready = new Promise<true>((resolve) => {
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => {
        said = `${said}${line}\n`.slice(-20_000);
        if (line.includes('"msg":"ready"')) resolve(true);
      });
  });
  const limit = new AbortController();
  const late = sleep(readyMs, false, { signal: limit.signal }).catch(() => false);
  const isReady = await Promise.race([ready, late, ended.then(() => false)]);
  limit.abort();
  if (isReady) return { kill };
  await kill();
  throw new Error(`the worker was not ready within ${readyMs} ms:\n${said}`);
}
