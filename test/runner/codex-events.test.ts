import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { producedEventSchema } from '../../contract/events.js';
import { codexEvents as codexEventsIn } from '../../runner/drivers/codex/codex-events.js';
import { CodexUsage } from '../../runner/drivers/codex/codex-usage.js';

const sampleSchema = z.object({ method: z.string(), params: z.unknown() });
/** One notification of each kind, as codex-cli 0.169.0 sent it. */
const samples = readFileSync(new URL('./fixtures/codex-notifications.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => sampleSchema.parse(JSON.parse(line)));

const workspace = '/session/workspace';
const codexEvents = (method: string, params: unknown) => codexEventsIn(method, params, workspace);
const item = (item: Record<string, unknown>) => ({ threadId: 't', turnId: 'u', item });

describe('codexEvents', () => {
  test('maps every recorded notification to events that fit the contract', () => {
    const events = samples.flatMap((sample) => codexEvents(sample.method, sample.params));
    for (const event of events) expect(producedEventSchema.parse(event)).toEqual(event);
    const types = new Set(events.map((event) => event.type));
    expect([...types].sort()).toEqual([
      'agent_message',
      'backend_status',
      'command_execution',
      'file_change',
      'reasoning',
      'user_message',
    ]);
  });

  test('keeps only what it does not know as raw', () => {
    const raw = samples
      .flatMap((sample) => codexEvents(sample.method, sample.params))
      .filter((event) => event.raw);
    expect(raw.map((event) => event.payload.phase)).toEqual([
      'agent/item/contextCompaction',
      'agent/thread/goal/cleared',
    ]);
  });

  test('a steer in the history names its command', () => {
    const messages = samples
      .flatMap((sample) => codexEvents(sample.method, sample.params))
      .filter((event) => event.type === 'user_message');
    expect(messages.length).toBeGreaterThan(1);
    for (const message of messages) expect(message.payload.commandId).not.toBeNull();
  });

  test.each([
    ['item/agentMessage/delta', { threadId: 't', turnId: 'u', itemId: 'm', delta: 'x' }],
    ['item/started', item({ type: 'agentMessage', id: 'm', text: '' })],
    ['item/started', item({ type: 'userMessage', id: 'm', clientId: 'cmd_1', content: [] })],
    ['item/completed', item({ type: 'reasoning', id: 'r', summary: [], content: [] })],
    ['thread/status/changed', { threadId: 't', status: { type: 'idle' } }],
    ['account/rateLimits/updated', {}],
  ])('%s says nothing', (method, params) => {
    expect(codexEvents(method, params)).toEqual([]);
  });

  test('a command is told when it starts and when it ends, with the end of a long output', () => {
    const command = { type: 'commandExecution', id: 'c', command: 'make', cwd: '/w', status: 'inProgress' };
    expect(codexEvents('item/started', item(command))).toEqual([
      {
        type: 'command_execution',
        payload: {
          itemId: 'c',
          command: 'make',
          cwd: '/w',
          status: 'inProgress',
          exitCode: null,
          output: null,
          durationMs: null,
        },
      },
    ]);
    const output = `${'é'.repeat(40_000)}end`;
    const [ended] = codexEvents(
      'item/completed',
      item({ ...command, status: 'failed', aggregatedOutput: output, exitCode: 2, durationMs: 5 }),
    );
    expect(ended?.payload).toMatchObject({ status: 'failed', exitCode: 2, outputOmittedBytes: 14_468 });
    expect(ended?.payload.output).toMatch(/^é+end$/);
  });

  test('paths of changed files inside the workspace are relative, others stay', () => {
    const recorded = samples
      .flatMap((sample) => codexEvents(sample.method, sample.params))
      .filter((event) => event.type === 'file_change')
      .map((event) => event.payload.changes);
    expect(recorded).toMatchObject([[{ path: 'src/greet.js' }], [{ path: 'a.txt' }]]);

    const change = (path: string) => ({ path, kind: { type: 'add' }, diff: null });
    const changes = ['/session/workspace-2/a', '/etc/hosts', 'b.txt', `${workspace}/..c`].map(change);
    const [event] = codexEvents(
      'item/completed',
      item({ type: 'fileChange', id: 'f', status: 'completed', changes }),
    );
    expect(event?.payload.changes).toMatchObject(
      ['/session/workspace-2/a', '/etc/hosts', 'b.txt', '..c'].map((path) => ({ path })),
    );
  });

  test.each([
    [
      item({
        type: 'mcpToolCall',
        id: 'x',
        server: 's',
        tool: 'look',
        status: 'completed',
        arguments: { a: 1 },
      }),
      'look',
    ],
    [item({ type: 'webSearch', id: 'x', query: 'q' }), 'web_search'],
  ])('tool calls', (params, tool) => {
    expect(codexEvents('item/completed', params)).toMatchObject([
      { type: 'tool_call', payload: { itemId: 'x', tool } },
    ]);
  });

  test('an unknown notification, an unknown item and a known one of another shape are kept raw', () => {
    expect(codexEvents('thread/dreamed', { of: 'sheep' })).toEqual([
      { type: 'backend_status', payload: { phase: 'agent/thread/dreamed' }, raw: { of: 'sheep' } },
    ]);
    expect(codexEvents('item/completed', item({ type: 'hologram', id: 'h' }))).toMatchObject([
      { payload: { phase: 'agent/item/hologram', itemId: 'h' }, raw: { type: 'hologram', id: 'h' } },
    ]);
    expect(codexEvents('item/completed', 7)).toMatchObject([{ raw: 7 }]);
    const huge = codexEvents('thread/dreamed', { of: 'x'.repeat(1_000_000) });
    expect(JSON.stringify(huge).length).toBeLessThan(100_000);
  });
});

describe('CodexUsage', () => {
  const total = (inputTokens: number, outputTokens: number) => ({
    totalTokens: inputTokens + outputTokens,
    inputTokens,
    outputTokens,
    cachedInputTokens: 0,
    reasoningOutputTokens: 0,
  });

  test('counts the turn as the difference of totals, with the replay of a resume as baseline', () => {
    const usage = new CodexUsage();
    usage.replay(total(1_000, 100));
    usage.beginTurn();
    expect(usage.update(total(1_500, 150)).totalTokens).toBe(550);
    expect(usage.update(total(2_000, 200)).totalTokens).toBe(1_100);
    usage.beginTurn();
    expect(usage.update(total(2_100, 210)).totalTokens).toBe(110);
  });

  test('a drop is a new baseline and loses nothing that was counted', () => {
    const usage = new CodexUsage();
    usage.beginTurn();
    usage.update(total(1_000, 100));
    expect(usage.update(total(300, 0)).totalTokens).toBe(1_100);
    expect(usage.update(total(500, 50)).totalTokens).toBe(1_350);
  });

  test('a full context window that overwrites the totals adds nothing', () => {
    const usage = new CodexUsage();
    usage.beginTurn();
    usage.update(total(1_000, 100));
    expect(usage.update({ ...total(0, 0), totalTokens: 258_400 }).totalTokens).toBe(1_100);
  });
});
