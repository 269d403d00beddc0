import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createParser } from 'eventsource-parser';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import type { ScenarioInput } from '../../tools/scripted-model/scenario.js';
import { failureKindSchema } from '../../tools/scripted-model/scenario.js';
import type { ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { createScriptedModelServer } from '../../tools/scripted-model/server.js';

const eventSchema = z.looseObject({
  type: z.string(),
  sequence_number: z.number(),
  delta: z.string().optional(),
  item: z
    .looseObject({ type: z.string(), name: z.string().optional(), arguments: z.string().optional() })
    .optional(),
  response: z
    .looseObject({
      status: z.string().optional(),
      usage: z.record(z.string(), z.unknown()).nullish(),
      error: z.looseObject({ code: z.string().nullable(), message: z.string() }).optional(),
    })
    .optional(),
});
type Event = z.infer<typeof eventSchema>;

const key = 'sk-never-to-be-recorded';
const scenarios: ScenarioInput[] = [
  {
    name: 'talk',
    steps: [
      {
        reasoning: 'hm',
        text: 'twenty letters or so',
        deltas: 5,
        toolCalls: [{ cmd: 'true', yieldTimeMs: 500 }],
        usage: { inputTokens: 10, cachedInputTokens: 4, outputTokens: 3, reasoningTokens: 1 },
      },
    ],
  },
  { name: 'strict', steps: [{ text: 'ok', expectText: ['the word'] }] },
  { name: 'slow', steps: [{ text: 'abcdefghij', deltas: 10, deltaMs: 60_000 }] },
  { name: 'stop', steps: [{ text: 'abcd', deltas: 4, hold: 'gate', holdAfterDeltas: 2 }] },
  {
    name: 'fail-until',
    steps: [{ text: 'abcd', failure: { kind: 'server_error', untilReleased: 'healed' } }],
  },
  ...failureKindSchema.options.map((kind) => ({
    name: `fail-${kind.replaceAll('_', '-')}`,
    steps: [{ text: 'abcd', deltas: 4, failure: { kind, times: 1, afterDeltas: 2 } }],
  })),
];

describe('the scripted model over HTTP', () => {
  let server: ScriptedModelServer;
  let folder: string;
  let recordFile: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'agentrun-scripted-'));
    recordFile = join(folder, 'requests.jsonl');
    server = await createScriptedModelServer({ scenarios, recordFile });
  });

  afterEach(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  const ask = (text: string, init: RequestInit = {}, thread = 'thread-1') =>
    fetch(`${server.url}/v1/responses`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'scripted-1',
        stream: true,
        prompt_cache_key: thread,
        input: [{ type: 'message', role: 'user', content: [{ type: 'input_text', text }] }],
      }),
      ...init,
    });

  test('streams reasoning, text, tool calls and usage as the Responses API does', async () => {
    const events = await eventsOf(await ask('[[scenario:talk]]'));
    expect(events.map(({ type }) => type)).toEqual([
      'response.created',
      'response.output_item.added',
      'response.reasoning_summary_part.added',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.done',
      'response.output_item.done',
      'response.output_item.added',
      ...Array.from({ length: 5 }, () => 'response.output_text.delta'),
      'response.output_text.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, at) => at));
    expect(textOf(events)).toBe('twenty letters or so');
    const call = events.findLast(({ type }) => type === 'response.output_item.done')?.item;
    expect(call).toMatchObject({ type: 'function_call', name: 'exec_command' });
    expect(JSON.parse(call?.arguments ?? '')).toEqual({ cmd: 'true', yield_time_ms: 500 });
    expect(events.at(-1)?.response?.usage).toEqual({
      input_tokens: 10,
      input_tokens_details: { cached_tokens: 4 },
      output_tokens: 3,
      output_tokens_details: { reasoning_tokens: 1 },
      total_tokens: 13,
    });
  });

  test('a step without usage gets a plausible one', async () => {
    const usage = (await eventsOf(await ask('hello'))).at(-1)?.response?.usage;
    expect(usage?.input_tokens).toBeGreaterThan(10);
    expect(usage?.output_tokens).toBeGreaterThan(10);
  });

  test.each([
    ['unauthorized', 401, 'invalid_api_key'],
    ['rate-limited', 429, 'rate_limit_exceeded'],
    ['insufficient-quota', 429, 'insufficient_quota'],
    ['bad-request', 400, null],
    ['model-not-found', 404, 'model_not_found'],
    ['server-error', 500, null],
    ['server-overloaded', 503, 'server_is_overloaded'],
    ['http', 500, null],
  ])('fails with %s over HTTP, then answers', async (name, status, code) => {
    const failed = await ask(`[[scenario:fail-${name}]]`);
    expect(failed.status).toBe(status);
    expect(await failed.json()).toMatchObject({ error: { code, message: expect.any(String) } });
    expect(failed.headers.get('retry-after')).toBe(name === 'rate-limited' ? '1' : null);
    expect(textOf(await eventsOf(await ask(`[[scenario:fail-${name}]]`)))).toBe('abcd');
    expect(server.requests().map(({ outcome }) => outcome)).toEqual(['failed', 'completed']);
  });

  test.each(['context-length-exceeded', 'rate-limit-exceeded'])(
    'fails with %s in the stream',
    async (name) => {
      const events = await eventsOf(await ask(`[[scenario:fail-${name}]]`));
      expect(events.map(({ type }) => type)).toEqual(['response.created', 'response.failed']);
      expect(events.at(-1)?.response?.error?.code).toBe(name.replaceAll('-', '_'));
    },
  );

  test('cuts a stream after so many deltas', async () => {
    const events: Event[] = [];
    const response = await ask('[[scenario:fail-stream-cut]]');
    await expect(collect(response, events)).rejects.toThrow();
    expect(textOf(events)).toBe('ab');
    expect(textOf(await eventsOf(await ask('[[scenario:fail-stream-cut]]')))).toBe('abcd');
  });

  test('gives no answer at all when the connection is lost', async () => {
    await expect(ask('[[scenario:fail-connection-lost]]')).rejects.toThrow();
    expect(textOf(await eventsOf(await ask('[[scenario:fail-connection-lost]]')))).toBe('abcd');
    expect(server.requests().map(({ outcome }) => outcome)).toEqual(['cut', 'completed']);
  });

  test('fails until the hold of the failure is released', async () => {
    for (let request = 0; request < 3; request += 1)
      expect((await ask('[[scenario:fail-until]]')).status).toBe(500);
    server.release('healed');
    expect(textOf(await eventsOf(await ask('[[scenario:fail-until]]')))).toBe('abcd');
    expect(server.requests().map(({ failure }) => failure)).toEqual([
      'server_error',
      'server_error',
      'server_error',
      null,
    ]);
  });

  test('finds requests by a text of their body, and the last of them', async () => {
    for (const word of ['one apple', 'one pear', 'two apple', 'three apple']) await eventsOf(await ask(word));
    const seqs = async (query: string) => {
      const response = await fetch(`${server.url}/__scripted/requests?${query}`);
      const body: unknown = await response.json();
      return z
        .object({ requests: z.array(z.object({ seq: z.number() })) })
        .parse(body)
        .requests.map(({ seq }) => seq);
    };
    expect(await seqs('contains=apple')).toEqual([1, 3, 4]);
    expect(await seqs('contains=apple&last=2')).toEqual([3, 4]);
    expect(await seqs('contains=pear&last=9')).toEqual([2]);
    expect(await seqs('thread=another&last=1')).toEqual([]);
  });

  test('a stalled stream says no more, and ends when the client goes', async () => {
    const client = new AbortController();
    const events: Event[] = [];
    const response = await ask('[[scenario:fail-stream-stall]]', { signal: client.signal });
    const reading = collect(response, events).catch(() => undefined);
    await expect.poll(() => textOf(events)).toBe('ab');
    client.abort();
    await reading;
    await expect.poll(() => server.requests()[0]?.outcome).toBe('clientGone');
  });

  test('a client that goes away ends the step at once', async () => {
    const client = new AbortController();
    const response = await ask('[[scenario:slow]]', { signal: client.signal });
    const reading = collect(response, []).catch(() => undefined);
    client.abort();
    await reading;
    await expect.poll(() => server.requests()[0]?.outcome).toBe('clientGone');
  });

  test('closing breaks off what is being answered', async () => {
    const reading = collect(await ask('[[scenario:slow]]'), []);
    const settled = expect(reading).rejects.toThrow();
    await server.close();
    await settled;
  });

  test('a hold waits for its release over HTTP, stays open, and can be armed again', async () => {
    const events: Event[] = [];
    const reading = collect(await ask('[[scenario:stop]]', {}, 'held'), events);
    await expect.poll(() => server.holds()).toEqual([{ name: 'gate', released: false, waiting: ['held'] }]);
    expect(textOf(events)).toBe('ab');
    const released = await fetch(`${server.url}/__scripted/holds/gate/release`, { method: 'POST' });
    expect(await released.json()).toEqual({ name: 'gate', released: 1 });
    await reading;
    expect(textOf(await eventsOf(await ask('[[scenario:stop]]')))).toBe('abcd');
    await fetch(`${server.url}/__scripted/holds/gate/arm`, { method: 'POST' });
    const again = collect(await ask('[[scenario:stop]]'), []);
    await expect.poll(() => server.holds()[0]?.waiting.length).toBe(1);
    server.release('gate');
    await again;
  });

  test('refuses a request without a key, an unknown scenario, and one without the expected text', async () => {
    expect((await fetch(`${server.url}/v1/responses`, { method: 'POST', body: '{}' })).status).toBe(401);
    expect((await fetch(`${server.url}/v1/models`)).status).toBe(401);
    const unknown = await ask('[[scenario:nowhere]]');
    expect([unknown.status, await unknown.text()]).toEqual([
      400,
      expect.stringMatching(/no scenario .*nowhere.*known: .*demo/),
    ]);
    const strict = await ask('[[scenario:strict]]');
    expect([strict.status, await strict.text()]).toEqual([400, expect.stringContaining('the word')]);
    expect((await ask('[[scenario:strict]] the word')).status).toBe(200);
  });

  test('records each request without the key, in memory, over HTTP and in the file', async () => {
    await eventsOf(await ask('[[scenario:talk]]'));
    const overHttp = await (await fetch(`${server.url}/__scripted/requests?thread=thread-1`)).text();
    const inFile = await readFile(recordFile, 'utf8');
    for (const text of [overHttp, inFile, JSON.stringify(server.requests())]) {
      expect(text).toContain('[[scenario:talk]]');
      expect(text).not.toContain(key);
    }
    expect(server.requests()[0]).toMatchObject({
      seq: 1,
      threadKey: 'thread-1',
      scenario: 'talk',
      step: 0,
      outcome: 'completed',
      authorization: { present: true, sha256Prefix: expect.stringMatching(/^[0-9a-f]{12}$/) },
    });
    const lines = inFile
      .trim()
      .split('\n')
      .map((line) => z.object({ record: z.string() }).parse(JSON.parse(line)).record);
    expect(lines).toEqual(['request', 'outcome']);
  });
});

test('the program prints where it listens and ends on SIGTERM', async () => {
  const program = join(packageRoot(), 'tools', 'scripted-model', 'main.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', program, '--port', '0'], {
    cwd: packageRoot(),
    env: childEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const exit = once(child, 'exit');
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    const ready = z.object({ msg: z.literal('ready'), url: z.url() }).parse(JSON.parse(String(line)));
    expect(await (await fetch(`${ready.url}/__scripted`)).text()).toContain('no model behind it');
    child.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
  }
});

async function eventsOf(response: Response): Promise<Event[]> {
  expect(response.status).toBe(200);
  const events: Event[] = [];
  await collect(response, events);
  return events;
}

/** Reads a stream into `into` as it comes. @throws when the connection breaks. */
async function collect(response: Response, into: Event[]): Promise<void> {
  const parser = createParser({ onEvent: ({ data }) => into.push(eventSchema.parse(JSON.parse(data))) });
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
}

function textOf(events: readonly Event[]): string {
  return events
    .filter(({ type }) => type === 'response.output_text.delta')
    .map(({ delta }) => delta)
    .join('');
}
