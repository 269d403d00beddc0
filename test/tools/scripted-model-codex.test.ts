import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { packageRoot } from '../../infra/config/package-root.js';
import { failureKindSchema } from '../../tools/scripted-model/scenario.js';
import type { ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { createScriptedModelServer } from '../../tools/scripted-model/server.js';
import type { CodexHome } from './codex-app-server.js';
import { CodexAppServer, createCodexHome } from './codex-app-server.js';

/** The scripted model with the real `codex app-server` in front of it: what it makes of our streams is what counts. */
describe('the real Codex on the scripted model', () => {
  let server: ScriptedModelServer;
  let home: CodexHome;
  let codex: CodexAppServer;

  beforeEach(async () => {
    server = await createScriptedModelServer({ scenarios: [{ name: 'poll', steps: pollSteps }] });
    home = await createCodexHome(server.url);
    codex = await CodexAppServer.start(home);
  });

  afterEach(async () => {
    await codex.kill();
    await server.close();
    await home.remove();
  });

  const requestsOf = (thread: string) => server.requests().filter((request) => request.threadKey === thread);
  // Not the first line: what a command prints at once is in no outputDelta, only in the completed item (0.169).
  const commandOutput = (text: string) =>
    codex.next(
      (one) =>
        one.method === 'item/commandExecution/outputDelta' && JSON.stringify(one.params).includes(text),
    );

  test('a steer during the slow command of the default scenario is in the next request and in the answer', async () => {
    const thread = await codex.startThread();
    const turn = await codex.startTurn(thread, 'Look around, please.', 'message-1');
    await commandOutput('step 2');
    await codex.steer(thread, turn, 'And be quick about it.');
    const end = await codex.turnEnd(turn);

    expect(end.status).toBe('completed');
    expect(end.finalText).toContain('You also said: And be quick about it.');
    expect(end.finalText).toContain('- Look around, please.\n- And be quick about it.');
    const requests = requestsOf(thread);
    expect(requests.map((request) => request.step)).toEqual([0, 1, 2]);
    expect(JSON.stringify(requests[1]?.body)).not.toContain('And be quick about it.');
    expect(JSON.stringify(requests[2]?.body)).toContain('And be quick about it.');
    expect(requests.every((request) => request.turnId === turn && request.outcome === 'completed')).toBe(
      true,
    );
  }, 30_000);

  test('a steer in the middle of a stream breaks it off; the same step is asked again with the steer', async () => {
    const thread = await codex.startThread();
    const turn = await codex.startTurn(thread, 'Wait. [[scenario:hold name=middle]]');
    await expect.poll(() => server.holds()[0]?.waiting, { timeout: 10_000 }).toEqual([thread]);
    await codex.steer(thread, turn, 'Stop there.');
    await expect.poll(() => requestsOf(thread).length, { timeout: 10_000 }).toBe(3);
    server.release('middle');
    const end = await codex.turnEnd(turn);

    expect(end.finalText).toContain('- Wait.\n- Stop there.');
    expect(requestsOf(thread).map(({ step, outcome }) => `${step} ${outcome}`)).toEqual([
      '0 completed',
      '1 clientGone',
      '1 completed',
      '2 completed',
    ]);
    const texts = codex.notifications.flatMap(({ method, params }) =>
      method === 'item/completed' && params.item?.text ? [params.item.text] : [],
    );
    expect(texts).toContain('You also said: Stop there.\n\nThis answer waits until its hold is released.');
  }, 30_000);

  test('two threads side by side keep their own positions', async () => {
    const [one, two] = await Promise.all([codex.startThread(), codex.startThread()]);
    const turnOne = await codex.startTurn(one, 'Thread one. [[scenario:hold name=both]]');
    const turnTwo = await codex.startTurn(two, 'Thread two. [[scenario:hold name=both]]');
    await expect.poll(() => server.holds()[0]?.waiting.length, { timeout: 10_000 }).toBe(2);
    expect(server.holds()[0]?.waiting.toSorted()).toEqual([one, two].toSorted());
    server.release('both');
    const [endOne, endTwo] = await Promise.all([codex.turnEnd(turnOne), codex.turnEnd(turnTwo)]);

    expect(endOne.finalText).toMatch(/- Thread one\.$/);
    expect(endTwo.finalText).toMatch(/- Thread two\.$/);
    for (const thread of [one, two])
      expect(requestsOf(thread).map((request) => request.step)).toEqual([0, 1, 2]);
  }, 30_000);

  test('a thread that is killed in the middle of a step and resumed goes on at that step', async () => {
    const thread = await codex.startThread();
    await codex.startTurn(thread, 'Go on. [[scenario:hold name=kill]]');
    await expect.poll(() => server.holds()[0]?.waiting.length, { timeout: 10_000 }).toBe(1);
    await codex.kill();
    server.release('kill');
    codex = await CodexAppServer.start(home);
    await codex.call('thread/resume', { threadId: thread, excludeTurns: true });
    const turn = await codex.startTurn(thread, 'Continue.');
    const end = await codex.turnEnd(turn);

    expect(end.finalText).toMatch(/- Continue\.$/);
    expect(requestsOf(thread).map((request) => request.step)).toEqual([0, 1, 1, 2]);
    const next = await codex.startTurn(thread, 'One more.');
    await codex.turnEnd(next);
    expect(
      requestsOf(thread)
        .slice(4)
        .map((request) => request.scenario),
    ).toEqual(['default', 'default', 'default']);
  }, 30_000);

  test('the demo mends the sample repository by a file change', async () => {
    await cp(join(packageRoot(), 'tools/scripted-model/sample-repository'), home.workspace, {
      recursive: true,
    });
    const thread = await codex.startThread();
    const turn = await codex.startTurn(thread, 'Mend greet. [[scenario:demo]]');
    await commandOutput('check 2');
    await codex.steer(thread, turn, 'Tell me when it is done.');
    const end = await codex.turnEnd(turn);

    expect(end.status).toBe('completed');
    expect(end.finalText).toContain('- Mend greet.\n- Tell me when it is done.');
    expect(await readFile(join(home.workspace, 'src/greet.js'), 'utf8')).toContain("name || 'stranger'");
    const items = codex.notifications
      .filter(({ method }) => method === 'item/completed')
      .map(({ params }) => params.item);
    expect(items.filter((item) => item?.type === 'fileChange')).toHaveLength(1);
    const tests = items.filter((item) => /node --test'?$/.test(String(item?.command)));
    expect(tests.map((item) => item?.exitCode)).toEqual([1, 0]);
  }, 30_000);

  test('a command that outlasts its yield is polled until it ends', async () => {
    const thread = await codex.startThread();
    const end = await codex.turnEnd(await codex.startTurn(thread, '[[scenario:poll]]'));
    expect(end.finalText).toBe('ended with 0');
    expect(requestsOf(thread).map(({ step, repetition }) => [step, repetition])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
    ]);
  }, 30_000);
});

describe('what Codex makes of the failures (agents.md 2.1)', () => {
  let server: ScriptedModelServer;
  let home: CodexHome;
  let codex: CodexAppServer;

  beforeAll(async () => {
    server = await createScriptedModelServer({ scenarios: failing });
    home = await createCodexHome(server.url, 700);
    codex = await CodexAppServer.start(home);
  });

  afterAll(async () => {
    await codex.kill();
    await server.close();
    await home.remove();
  });

  test.each([
    ['unauthorized', { httpConnectionFailed: { httpStatusCode: 401 } }, 3],
    ['rate_limited', { responseTooManyFailedAttempts: { httpStatusCode: 429 } }, 3],
    ['insufficient_quota', 'usageLimitExceeded', 1],
    ['bad_request', 'other', 1],
    ['model_not_found', 'modelNotFound', 1],
    ['server_error', 'internalServerError', 6],
    ['server_overloaded', 'serverOverloaded', 2],
    ['context_length_exceeded', 'contextWindowExceeded', 1],
    ['rate_limit_exceeded', 'rateLimitExceeded', 3],
    ['stream_cut', 'other', 3],
    ['stream_stall', 'other', 3],
  ])(
    '%s',
    async (kind, codexErrorInfo, requests) => {
      const thread = await codex.startThread();
      const end = await codex.turnEnd(await codex.startTurn(thread, `[[scenario:${scenarioOf(kind)}]]`));
      expect(end).toMatchObject({ status: 'failed', error: { codexErrorInfo } });
      expect(server.requests().filter((request) => request.threadKey === thread)).toHaveLength(requests);
    },
    30_000,
  );
});

const scenarioOf = (kind: string) => `fail-${kind.replaceAll('_', '-')}`;

// Only where it belongs: with a `retry-after`, Codex 0.169 retries a 503 too.
const failing = failureKindSchema.options.map((kind) => ({
  name: scenarioOf(kind),
  steps: [
    {
      text: 'This is never complete.',
      deltas: 4,
      failure: { kind, ...(kind === 'rate_limited' ? { retryAfterS: 0 } : {}) },
    },
  ],
}));

const pollSteps = [
  { toolCalls: [{ cmd: 'sleep 1.5', yieldTimeMs: 300 }] },
  {
    repeatWhileOutputContains: 'Process running with session ID',
    toolCalls: [
      {
        name: 'write_stdin',
        arguments: { session_id: '{{shellSessionId}}', chars: '', yield_time_ms: 5000 },
      },
    ],
  },
  { text: 'ended with {{lastExitCode}}' },
];
