import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { DefaultLogger, Runtime, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../infra/config/package-root.js';
import { startTracing } from '../../infra/telemetry/tracing.js';
import { createTracingPlugin } from '../../infra/temporal/tracing-plugin.js';
import { bundleWorkflows } from '../../worker/bundle-workflows.js';
import { scenarios } from './scenarios.js';

const folder = join(packageRoot(), 'test', 'replay', 'histories');
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
/** Turns of the real stack; the others are in scenarios.ts. */
const stackScenarios = [
  'turn-steered',
  'turn-warm',
  'turn-cancelled',
  'turn-launch-refused',
  'session-steers-and-queue',
  'queue-task',
];
const wanted = [...stackScenarios, ...scenarios.map((scenario) => scenario.name)];
const tracing = startTracing({ serviceName: 'test' });
let workflowBundle: WorkflowBundleOption;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  workflowBundle = await bundleWorkflows(tracing);
}, 60_000);

const read = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8'));
const replay = (history: unknown) =>
  Worker.runReplayHistory(
    { workflowBundle, plugins: [createTracingPlugin(tracing)] },
    historyFromJSON(history),
    'replayed',
  );

describe('stored histories', () => {
  it.each(files)('%s replays', async (file) => {
    await replay(read(file));
  });

  it.each(files)('%s names no folder of the machine that recorded it', (file) => {
    expect(readFileSync(join(folder, file), 'utf8')).not.toMatch(/\(\/[^)]*\.ts:/);
  });

  it.each(wanted)('there is a history of %s', (scenario) => {
    expect(files.some((file) => file.endsWith(`-${scenario}.json`))).toBe(true);
  });

  it('a history that the code would not write is refused: the replay can fail', async () => {
    const history = JSON.stringify(read(files.find((file) => file.endsWith('-turn-steered.json')) ?? ''));
    const foreign: unknown = JSON.parse(history.replaceAll('"superviseRunner"', '"somethingElse"'));
    await expect(replay(foreign)).rejects.toThrow(/TMPRL1100|Nondeterminism/i);
  });
});
