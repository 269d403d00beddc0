import { readFileSync } from 'node:fs';
import { createApiClient } from '../../client/index.js';
import { readStackConfig } from '../../infra/config/stack-config.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput } from '../output.js';
import { findRunningStack, type StackFile } from '../stack/stack-file.js';
import { type Stack, startStack } from '../stack/start-stack.js';
import { printAddresses } from '../up.js';
import { playDemo, sampleRepository } from './play-demo.js';

/**
 * `agentrun demo`: starts what is not running, lets a real Codex process do a queued task on a small sample repository, steers it in the middle, shows
 * the transcript live and what came of it.
 *
 * @returns 0 only if the turn completed and the steer is in the transcript.
 */
export async function runDemo(options: { keep: boolean }): Promise<number> {
  const config = readStackConfig();
  const output = createOutput(false);
  const print = (line: string) => output.line(line);
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error('stopped by a signal'));
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  const running = findRunningStack(config.dataDir);
  let owned: Stack | undefined;
  try {
    if (running === undefined) {
      print('Starting Postgres, Temporal, the worker and the API …');
      owned = await startStack({ config, log: (line) => print(`  ${line}`), signal: stop.signal });
    } else {
      print(`Using the stack that runs already (pid ${running.pid}).`);
    }
    const stack: StackFile = running ?? owned ?? unreachable();
    printAddresses(stack, print);
    const token = readFileSync(stack.apiTokenFile, 'utf8').trim();
    const client = createApiClient({ baseUrl: stack.apiUrl, token: () => token });
    const succeeded = await playDemo({
      client,
      isScripted: stack.scriptedUrl !== null,
      temporalUiUrl: stack.temporalUiUrl,
      workspace: { path: sampleRepository() },
      output,
      signal: stop.signal,
    });
    if (options.keep && owned !== undefined && !stop.signal.aborted) {
      print('\nThe stack stays up (--keep). Ctrl-C stops it.');
      await untilAborted(stop.signal);
    }
    return succeeded ? exitCodes.ok : exitCodes.failed;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    await owned?.stop();
  }
}

function unreachable(): never {
  throw new Error('no stack was found or started');
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
