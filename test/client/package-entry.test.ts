import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createContext, runInContext } from 'node:vm';
import { afterAll, expect, it } from 'vitest';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { scriptedSseServer } from './scripted-sse-server.js';

const run = promisify(execFile);
const root = packageRoot();

/** A project beside ours that has this package in its node_modules. */
const project = mkdtempSync(join(tmpdir(), 'agentrun-user-'));
afterAll(() => rmSync(project, { recursive: true, force: true }));
mkdirSync(join(project, 'node_modules'));
symlinkSync(root, join(project, 'node_modules', 'agentrun'));
writeFileSync(join(project, 'package.json'), JSON.stringify({ type: 'module' }));

/** What a user writes; typed, for Node and for browsers. */
const program = `
import { createApiClient, watchStream } from 'agentrun/client';
import { routes } from 'agentrun/contract';

export async function readAll(baseUrl: string): Promise<string[]> {
  const client = createApiClient({ baseUrl, token: () => 'token' });
  const seen: string[] = [];
  for await (const frame of client.stream(routes.streamRun, { params: { runId: 'run_1' } })) {
    if (frame.frame === 'event') seen.push(frame.id + ' ' + frame.data.type);
    else if (frame.frame === 'stream-end') seen.push(frame.data.status);
  }
  const watcher = watchStream(client, routes.streamRun, { params: { runId: 'run_1' } });
  return new Promise((resolve, reject) => {
    watcher.subscribe({
      onSnapshot: (frames) => seen.push('snapshot of ' + frames.length),
      onFrames: () => undefined,
      onState: (state) => {
        if (state.kind === 'failed') reject(state.error);
        if (state.kind === 'ended') resolve(seen);
      },
    });
  });
}
`;
writeFileSync(join(project, 'program.ts'), program);
const events = () =>
  scriptedSseServer(
    (visit) => visit.event(1).frame('rotated', { reason: 'age' }),
    (visit) => visit.event(2).streamEnd(2),
    (visit) => visit.event(1).event(2).streamEnd(2),
  );
/** Each starts programs of their own. */
const limitMs = 60_000;
const told = ['1 agent_message', '2 agent_message', 'completed', 'snapshot of 2'];

it(
  'the package is imported by its name in Node',
  async () => {
    const server = await events();
    const out = join(project, 'program.js');
    const esbuild = join(root, 'node_modules', '.bin', 'esbuild');
    await run(esbuild, [join(project, 'program.ts'), `--outfile=${out}`], { cwd: project });
    const script = `import { readAll } from './program.js'; console.log(JSON.stringify(await readAll('${server.url}')));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: project });
    expect(JSON.parse(stdout)).toEqual(told);
  },
  limitMs,
);

it(
  'its types need no types of Node',
  async () => {
    const compilerOptions = {
      target: 'ES2023',
      lib: ['ES2023', 'DOM', 'DOM.AsyncIterable'],
      module: 'NodeNext',
      types: [],
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
    };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
    const tsc = join(root, 'node_modules', 'ts7', 'bin', 'tsc');
    const { stdout } = await run(process.execPath, [tsc, '-p', project]).catch((error: unknown) => {
      throw new Error('the program of a user does not compile', { cause: error });
    });
    expect(stdout).toBe('');
  },
  limitMs,
);

it(
  'it runs where there is nothing but what browsers have',
  async () => {
    const out = join(project, 'browser.js');
    const esbuild = join(root, 'node_modules', '.bin', 'esbuild');
    // Refuses what imports a module of Node.
    await run(
      esbuild,
      [
        join(project, 'program.ts'),
        '--bundle',
        '--platform=browser',
        '--format=iife',
        '--global-name=program',
        `--outfile=${out}`,
      ],
      { cwd: project },
    );
    const page = createContext({
      fetch,
      URL,
      URLSearchParams,
      AbortController,
      TextDecoder,
      performance,
      queueMicrotask,
      setTimeout,
      clearTimeout,
    });
    runInContext(readFileSync(out, 'utf8'), page);
    const server = await events();
    expect(await runInContext(`program.readAll('${server.url}')`, page)).toEqual(told);
  },
  limitMs,
);

it(
  'the example shows a run to its end',
  async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).caughtUp(1).event(2).cut(),
      (visit) => visit.frame('gap', { from: 3, to: 4, reason: 'retention' }).event(5).streamEnd(5),
    );
    const env = childEnvironment({ AGENTRUN_MGR_URL: server.url, AGENTRUN_API_TOKEN: 'token' });
    const { stdout } = await run(process.execPath, [join(root, 'examples', 'watch-run.mjs'), 'run_1'], {
      env,
    });
    expect(stdout.trimEnd().split('\n')).toEqual([
      '1 agent_message text 1',
      '2 agent_message text 2',
      'events 3 to 4 are not kept any more',
      '5 agent_message text 5',
      'completed',
    ]);
    expect(server.visits[0]?.headers.authorization).toBe('Bearer token');
  },
  limitMs,
);

it(
  'the example says what it needs when no run is named',
  async () => {
    const asked = run(process.execPath, [join(root, 'examples', 'watch-run.mjs')], {
      env: childEnvironment({}),
    });
    await expect(asked).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^usage: .* RUN_ID$/m),
    });
  },
  limitMs,
);
