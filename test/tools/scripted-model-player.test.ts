import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readConversation, responsesRequestSchema } from '../../tools/scripted-model/conversation.js';
import { itemId } from '../../tools/scripted-model/item-ids.js';
import { nextCursor, Player } from '../../tools/scripted-model/player.js';
import { buildAnswer, pieces } from '../../tools/scripted-model/responses-api.js';
import type { ScenarioInput } from '../../tools/scripted-model/scenario.js';
import { scenarioSchema } from '../../tools/scripted-model/scenario.js';
import {
  builtInScenarioDir,
  markerIn,
  ScenarioFileError,
  ScenarioLibrary,
  withoutMarkers,
} from '../../tools/scripted-model/scenario-library.js';

const running = 'Process running with session ID 7';
const exited = 'Process exited with code 0';

describe('nextCursor', () => {
  const { steps } = scenarioSchema.parse({
    name: 'table',
    steps: [{ text: 'a', repeat: 2 }, { repeatWhileOutputContains: 'running' }, { text: 'c' }],
  });
  const at = (step: number, repetition: number) => ({ step, repetition });
  test.each([
    ['starts at the first step', null, '', at(0, 0)],
    ['repeats a step', at(0, 0), running, at(0, 1)],
    ['goes on after the last repetition', at(0, 1), running, at(1, 0)],
    ['passes over a poll with nothing to poll', at(0, 1), exited, at(2, 0)],
    ['polls as long as it must', at(1, 4), running, at(1, 5)],
    ['ends polling', at(1, 5), exited, at(2, 0)],
    ['is past the end after the last step', at(2, 0), exited, at(3, 0)],
  ])('%s', (_, done, output, expected) => {
    expect(nextCursor(steps, done, output)).toEqual(expected);
  });
});

describe('markers', () => {
  test.each([
    ['do it [[scenario:demo]] now', { name: 'demo', params: {} }],
    [
      '[[scenario:sleep seconds=180 path=/tmp/a-b]]',
      { name: 'sleep', params: { seconds: '180', path: '/tmp/a-b' } },
    ],
    ['[[scenario:sleep seconds=$(reboot)]]', null],
    ['no marker', null],
  ])('%s', (text, expected) => expect(markerIn(text)).toEqual(expected));

  test('are not repeated by the model', () => expect(withoutMarkers('a [[scenario:x n=1]] b')).toBe('a  b'));
});

test('the scenarios that come with AgentRun fit the schema', () => {
  const names = new ScenarioLibrary([builtInScenarioDir()]).names();
  expect(names).toEqual([
    'ask',
    'bench-turn',
    'default',
    'demo',
    'echo',
    'fail',
    'gate',
    'hold',
    'limit',
    'long-answer',
    'outage',
    'shell',
    'sleep',
    'stages',
  ]);
});

describe('scenario files', () => {
  test.each([
    [
      'a user text in a command',
      { name: 'x', steps: [{ toolCalls: [{ cmd: 'echo {{lastUserMessage}}' }] }] },
    ],
    ['an undeclared parameter', { name: 'x', steps: [{ text: '{{param.n}}' }] }],
    ['no steps', { name: 'x', steps: [] }],
  ])('are refused with %s', (_, scenario) => {
    expect(() => new ScenarioLibrary([], [scenario])).toThrow();
  });

  test('an unknown field names the scenario', () => {
    const wrong = { name: 'typo', steps: [{ text: 'a', dealyMs: 1 }] };
    expect(() => new ScenarioLibrary([], [wrong])).toThrow(ScenarioFileError);
    expect(() => new ScenarioLibrary([], [wrong])).toThrow(/scenario "typo"(.|\n)*dealyMs/);
  });

  test('parameters become numbers where a field is nothing but one', async () => {
    const steps = [{ text: 'n is {{param.n}}', firstTokenMs: '{{param.n}}' }];
    const folder = await mkdtemp(join(tmpdir(), 'agentrun-scenarios-'));
    await writeFile(join(folder, 'p.json'), JSON.stringify({ name: 'p', params: { n: '1' }, steps }));
    const library = new ScenarioLibrary([folder]);
    await rm(folder, { recursive: true });
    const [step] = library.instantiate({ name: 'p', params: { n: '20' } }).steps;
    expect(step).toMatchObject({ text: 'n is 20', firstTokenMs: 20 });
    expect(() => library.instantiate({ name: 'p', params: { m: '1' } })).toThrow(
      /no parameter "m" \(known: n\)/,
    );
    expect(() => library.instantiate({ name: 'p', params: { n: 'soon' } })).toThrow(/firstTokenMs/);
  });
});

/** Plays the client: keeps the history of a thread as Codex 0.169 sends it. */
class Client {
  readonly input: object[] = [];
  private turnId = '';
  private clockMs = 1_795_225_520_000;

  constructor(
    private readonly player: Player,
    private readonly threadId: string,
  ) {}

  turn(text: string): this {
    this.turnId = this.uuid();
    return this.say(text);
  }

  say(text: string): this {
    this.input.push({
      type: 'message',
      role: 'user',
      id: `msg_${this.uuid()}`,
      content: [{ type: 'input_text', text }],
    });
    return this;
  }

  ask(requestKind = 'turn') {
    const metadata = { thread_id: this.threadId, turn_id: this.turnId };
    const turnMetadata = JSON.stringify({ request_kind: requestKind });
    const body = responsesRequestSchema.parse({
      stream: true,
      input: this.input,
      client_metadata: { ...metadata, 'x-codex-turn-metadata': turnMetadata },
    });
    return this.player.choose(readConversation(body, {}));
  }

  /** Asks and takes the whole answer into the history, tool outputs too. */
  take(toolOutput = exited): string {
    const choice = this.ask();
    const completed = buildAnswer(choice, 'm', 100).closing.filter(
      ({ type }) => type === 'response.output_item.done',
    );
    for (const { item } of completed) this.input.push({ ...Object(item) });
    if (choice.content.toolCalls.length > 0)
      this.input.push({ type: 'function_call_output', output: toolOutput });
    return `${choice.scenario} ${choice.step}`;
  }

  private uuid(): string {
    this.clockMs += 5;
    const hex = this.clockMs.toString(16).padStart(12, '0');
    return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
  }
}

const three: ScenarioInput = {
  name: 'three',
  steps: [
    { text: 'one', toolCalls: [{ cmd: 'true' }] },
    { toolCalls: [{ cmd: 'a' }, { cmd: 'b' }] },
    { text: 'end' },
  ],
};
const flaky: ScenarioInput = {
  name: 'flaky',
  steps: [{ text: 'ok', failure: { kind: 'server_error', times: 2 }, stableIds: true }],
};

describe('the position of a thread', () => {
  const player = () => new Player(new ScenarioLibrary([], [three, flaky]));

  test('goes on with each answer that the client has completely', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    expect([client.take(), client.take(), client.take()]).toEqual(['three 0', 'three 1', 'three 2']);
  });

  test('stays when the request is repeated, and when a steer breaks the stream off', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    client.take();
    expect(client.ask()).toMatchObject({ step: 1, acknowledgement: '' });
    const steered = client.say('also this').ask();
    expect(steered).toMatchObject({ step: 1, acknowledgement: 'You also said: {{steers}}' });
    expect(steered.values).toMatchObject({
      steers: 'also this',
      newUserMessages: 'also this',
      lastUserMessage: 'also this',
    });
    expect(steered.values.turnUserMessages).toBe('- go\n- also this');
  });

  test('stays when only one of two calls of a step is in the history', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    client.take();
    const half = itemId('fc', { scenario: 'three', step: 1, repetition: 0, item: 0, items: 2 }, 'abc');
    client.input.push({ type: 'function_call', id: half });
    expect(client.ask().step).toBe(1);
  });

  test('is read from the request alone: another server goes on at the same step', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    client.take();
    const elsewhere = new Client(player(), 'a');
    elsewhere.input.push(...client.input);
    expect(elsewhere.take()).toBe('three 1');
  });

  test('survives a compaction, which takes the answers out of the history', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    client.take();
    expect(client.ask('compaction').scenario).toBe('three-compaction');
    client.input.splice(1);
    expect(client.take()).toBe('three 1');
    expect(client.take()).toBe('three 2');
  });

  test('past the end: a late message is acknowledged, a new turn gets the default scenario', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    for (let step = 0; step < 3; step += 1) client.take();
    const late = client.say('too late?').ask();
    expect(late).toMatchObject({ scenario: 'three', step: 3 });
    expect(late.values.turnUserMessages).toContain('too late?');
    client.take();
    client.turn('what else?');
    expect([client.take(), client.take(), client.take()]).toEqual(['default 0', 'default 1', 'default 2']);
    client.turn('and again');
    expect([client.take(), client.take()]).toEqual(['default 0', 'default 1']);
  });

  test('goes on over turns, and a new marker starts anew', () => {
    const client = new Client(player(), 'a').turn('go [[scenario:three]]');
    client.take();
    expect(client.turn('the last turn was interrupted').take()).toBe('three 1');
    client.turn('[[scenario:three]]');
    expect(client.take()).toBe('three 0');
    client.turn('[[scenario:flaky]]');
    expect(client.ask().scenario).toBe('flaky');
  });

  test('a failure is counted per thread', () => {
    const one = player();
    const a = new Client(one, 'a').turn('[[scenario:flaky]]');
    const b = new Client(one, 'b').turn('[[scenario:flaky]]');
    const kinds = [a.ask(), b.ask(), a.ask(), a.ask(), b.ask(), b.ask()].map(
      ({ failure }) => failure?.kind ?? null,
    );
    expect(kinds).toEqual(['server_error', 'server_error', 'server_error', null, 'server_error', null]);
    expect(a.ask().idSuffix).toBe(a.ask().idSuffix);
  });
});

test('pieces cut a text evenly and lose nothing', () => {
  const text = 'äbc 😀 defghijklmno';
  expect(pieces(text, 7)).toHaveLength(7);
  expect(pieces(text, 7).join('')).toBe(text);
  expect(pieces('ab', 20)).toEqual(['a', 'b']);
});
