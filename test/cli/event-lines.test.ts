import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { eventLines } from '../../cli/event-lines.js';
import type { EventType } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

const esc = String.fromCodePoint(0x1b);
const shown = (type: EventType, payload: JsonObject) =>
  eventLines({
    seq: 1,
    eventId: 'evt_1',
    runId: 'run_1',
    attempt: 1,
    epoch: 1,
    type,
    at: '2026-01-01T00:00:00.000Z',
    payload,
  }).map(stripVTControlCharacters);

it.each<[string, JsonObject, string[]]>([
  [
    'an attempt that is followed by another',
    { phase: 'attempt-ended', attempt: 1, failureKind: 'runner-lost', reason: 'the process ended' },
    ['· attempt 1 ended (runner-lost: the process ended); the next one goes on'],
  ],
  [
    'a park for a person',
    { phase: 'parked', parkedFor: 'person', failureKind: null, reason: 'nobody answered' },
    ['· parked until somebody answers; the runner is released'],
  ],
  [
    'a park for a limit',
    {
      phase: 'parked',
      parkedFor: 'provider-limit',
      failureKind: 'provider-rate-limited',
      reason: 'slow down',
    },
    ['· parked until the limit of the provider is over (provider-rate-limited: slow down)'],
  ],
  ['what only machines need', { phase: 'boot', steps: [] }, []],
])('watch shows %s', (_name, payload, expected) => {
  expect(shown('backend_status', payload)).toEqual(expected);
});

it('watch tells a note of AgentRun, in one line, from a message of a person', () => {
  expect(shown('user_message', { commandId: 'note_run_1_2', text: '[AgentRun] attempt 2\n\nmore' })).toEqual([
    'note to the agent> [AgentRun] attempt 2 …',
  ]);
  expect(shown('user_message', { commandId: 'note_run_1_2', text: 'go on' })).toEqual([
    'note to the agent> go on',
  ]);
  expect(shown('user_message', { commandId: 'cmd_1', text: 'go on' })).toEqual(['you> go on']);
});

it.each<[JsonObject, string]>([
  [{ terminalStatus: 'completed', failureKind: null, message: null }, '■ turn completed'],
  [
    { terminalStatus: 'failed', failureKind: 'provider-auth', message: 'no key' },
    '■ turn failed (provider-auth: no key)',
  ],
  [
    { terminalStatus: 'failed', failureKind: 'provider-auth', message: '400: {"error":{"message":"no"}}' },
    '■ turn failed (provider-auth: 400: no)',
  ],
  [{ terminalStatus: 'completed' }, '■ turn completed'],
])('watch shows the end %j', (payload, expected) => {
  expect(shown('terminal_status', payload)).toEqual([expected]);
});

const ended = { itemId: 'c', status: 'completed', command: 'make', output: '', exitCode: 0, durationMs: 5 };
it.each<[string, EventType, JsonObject, string[]]>([
  ['a command that begins', 'command_execution', { ...ended, status: 'inProgress' }, ['$ make']],
  ['nothing of one that did well and said nothing', 'command_execution', ended, []],
  [
    'its exit code only if it is not 0',
    'command_execution',
    { ...ended, exitCode: 2, status: 'failed', output: 'no' },
    ['  no', '  exit code 2'],
  ],
  ['how long it took if that is long', 'command_execution', { ...ended, durationMs: 2_340 }, ['  2.3 s']],
  [
    'both',
    'command_execution',
    { ...ended, status: 'failed', exitCode: 1, durationMs: 125_000 },
    ['  exit code 1, 2 min 5 s'],
  ],
  ['that it was declined', 'command_execution', { ...ended, status: 'declined' }, ['  declined']],
  [
    'the last lines of its output, without its colours, each of a bounded length',
    'command_execution',
    {
      ...ended,
      output: [
        ...Array.from({ length: 20 }, (_, index) => `${esc}[32mline ${index}${esc}[0m`),
        'x'.repeat(1_000),
      ].join('\r\n'),
    },
    [
      '  … 9 lines more',
      ...Array.from({ length: 11 }, (_, index) => `  line ${index + 9}`),
      `  ${'x'.repeat(300)}…`,
    ],
  ],
  [
    'all of an output that is a few lines longer, with its blank lines',
    'command_execution',
    { ...ended, output: `a\n\n${'b\n'.repeat(12)}\n\n` },
    ['  a', '', ...Array.from({ length: 12 }, () => '  b')],
  ],
  [
    'how much of an output was not kept',
    'command_execution',
    { ...ended, output: 'x\n'.repeat(15), outputOmittedBytes: 1_200 },
    ['  … 3 lines and 1,200 bytes more', ...Array.from({ length: 12 }, () => '  x')],
  ],
  [
    'an error of a provider in its words',
    'error',
    { message: '{"error":{"message":"a\\u001b"}}' },
    ['error> a\\u001b'],
  ],
  [
    'changed files with their counts',
    'file_change',
    {
      status: 'completed',
      changes: [
        { path: 'a.ts', kind: 'update', diff: '@@ -1 +1,2 @@\n-x\n+y\n+z\n' },
        { path: 'new.ts', kind: 'add', diff: 'one\ntwo\n' },
        { path: 'old.ts', kind: 'delete', diff: 'one' },
        { path: 'moved.ts', kind: 'update', diff: null },
      ],
    },
    ['± a.ts (+2 −1)', '± new.ts (add +2)', '± old.ts (delete −1)', '± moved.ts'],
  ],
  [
    'what was lost',
    'events_lost',
    { count: 1_200, from: 't1', to: 't2', reason: 'full' },
    ['! 1,200 events were lost, from t1 to t2 (full)'],
  ],
  [
    'what was too large',
    'event_truncated',
    { originalType: 'diff', bytes: 1_048_577, sha256: 'x' },
    ['! an event was too large to be kept: diff, 1,048,577 bytes'],
  ],
  [
    'a tool',
    'tool_call',
    { server: 'docs', tool: 'search', status: 'completed' },
    ['tool> docs search completed'],
  ],
])('watch shows %s', (_name, type, payload, expected) => {
  expect(shown(type, payload)).toEqual(expected);
});
