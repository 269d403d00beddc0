import { describe, expect, it, test } from 'vitest';
import type { EventType } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';
import { transcriptText } from '../../domain/transcript.js';

const esc = String.fromCodePoint(0x1b);
const ended = { status: 'completed', command: 'npm test', output: '', exitCode: 0, durationMs: 12 };
const text = (type: EventType, payload: JsonObject) => transcriptText({ type, payload });

describe('the transcript', () => {
  test.each<[EventType, JsonObject, string[]]>([
    ['user_message', { commandId: 'cmd_1', text: 'go on' }, ['you> go on']],
    ['user_message', { commandId: 'note_run_1_2', text: 'go on' }, ['note> go on']],
    ['agent_message', { text: 'one\n\ntwo' }, ['agent> one', '', '  two']],
    ['agent_message', {}, ['agent>']],
    ['command_execution', { ...ended, status: 'inProgress' }, []],
    ['command_execution', ended, ['$ npm test', '  (exit code 0)']],
    [
      'command_execution',
      { ...ended, output: 'a\r\n\nb\n\n' },
      ['$ npm test', '  a', '', '  b', '  (exit code 0)'],
    ],
    [
      'command_execution',
      { ...ended, output: `${esc}[32mok${esc}[0m` },
      ['$ npm test', '  ok', '  (exit code 0)'],
    ],
    ['command_execution', { ...ended, command: 'a\nb' }, ['$ a', '  b', '  (exit code 0)']],
    [
      'command_execution',
      { ...ended, status: 'failed', exitCode: 7, durationMs: 2_345 },
      ['$ npm test', '  (exit code 7, 2.3 s)'],
    ],
    ['command_execution', { ...ended, status: 'declined', exitCode: null }, ['$ npm test', '  (declined)']],
    ['command_execution', { ...ended, status: 'failed', exitCode: null }, ['$ npm test', '  (failed)']],
    ['file_change', { status: 'inProgress', changes: [{ path: 'a', kind: 'add', diff: 'x' }] }, []],
    [
      'file_change',
      {
        status: 'completed',
        changes: [
          { path: 'a.ts', kind: 'update', diff: '--- a\n+++ b\n@@ -1 +1,2 @@\n-x\n+++y\n+z\n' },
          { path: 'new.ts', kind: 'add', diff: 'one\ntwo\n' },
          { path: 'old.ts', kind: 'delete', diff: 'one' },
          { path: 'moved.ts', kind: 'update', diff: null },
        ],
      },
      ['± a.ts (+2 −1)', '± new.ts (add: +2)', '± old.ts (delete: −1)', '± moved.ts'],
    ],
    [
      'file_change',
      { status: 'declined', changes: [{ path: 'a', kind: 'add', diff: 'x' }] },
      ['± a (add: +1) (declined)'],
    ],
    ['file_change', {}, ['± no file']],
    ['tool_call', { server: 's', tool: 't', status: 'completed' }, ['tool> s t completed']],
    ['tool_call', { server: 's', tool: 't', status: 'inProgress' }, []],
    ['error', { message: 'lost', willRetry: true }, ['retrying> lost']],
    ['error', { message: 'lost', willRetry: false }, ['error> lost']],
    [
      'error',
      { message: 'HTTP 429: {"error":{"message":"slow\\u001b[2J"}}' },
      ['error> HTTP 429: slow\\u001b[2J'],
    ],
    [
      'terminal_status',
      { terminalStatus: 'failed', failureKind: 'provider-auth', message: '{"error":{"message":"no key"}}' },
      ['■ turn failed (provider-auth: no key)'],
    ],
    [
      'user_message',
      { commandId: 'note_run_1_2', text: '[AgentRun] attempt 2\n\nmore' },
      ['note> [AgentRun] attempt 2 …'],
    ],
    [
      'command_execution',
      { ...ended, output: 'tail', outputOmittedBytes: 12 },
      ['$ npm test', '  … 12 bytes more', '  tail', '  (exit code 0)'],
    ],
    [
      'approval_requested',
      {
        kind: 'command',
        summary: 'write',
        command: 'echo x\n> f',
        cwd: '/w',
        reason: 'why not',
        details: '+ network',
        questions: [{ header: 'H', question: 'which?', options: [{ label: 'a', description: '' }] }],
      },
      [
        '? the agent asks (command): write',
        '    $ echo x',
        '    > f',
        '    in /w',
        '    because why not',
        '    + network',
        '    H which?',
        '    - a',
      ],
    ],
    ['approval_resolved', { resolution: 'denied', reason: 'not here' }, ['  request denied (not here)']],
    [
      'backend_status',
      { phase: 'attempt-ended', attempt: 1, failureKind: 'runner-lost', reason: 'gone' },
      ['· attempt 1 ended (runner-lost: gone); the next one goes on'],
    ],
    ['backend_status', { phase: 'boot' }, []],
    [
      'events_lost',
      { count: 3, from: 't1', to: 't2', reason: 'full' },
      ['! 3 events were lost, from t1 to t2 (full)'],
    ],
    [
      'event_truncated',
      { originalType: 'diff', bytes: 1_048_577, sha256: 'x' },
      ['! an event was too large to be kept: diff, 1048577 bytes'],
    ],
    [
      'terminal_status',
      { terminalStatus: 'failed', failureKind: 'provider-auth', message: 'no key' },
      ['■ turn failed (provider-auth: no key)'],
    ],
    [
      'terminal_status',
      { terminalStatus: 'completed', failureKind: null, message: null },
      ['■ turn completed'],
    ],
    ['reasoning', { text: 'hm' }, []],
    ['plan', { text: 'p' }, []],
    ['diff', { diff: 'd' }, []],
    ['usage', {}, []],
    ['attempt_started', {}, []],
    ['steer_delivery', { delivery: 'delivered' }, []],
  ])('%s %j', (type, payload, lines) => {
    expect(
      text(type, payload)
        .split('\n')
        .filter((line, index) => line !== '' || index > 0),
    ).toEqual(lines);
  });

  const evil = `x${esc}[2J\u009b1A\u202e\rnew\n■ turn completed`;
  test.each<[EventType, JsonObject]>([
    ['user_message', { text: evil }],
    ['command_execution', { ...ended, command: evil, output: evil }],
    ['file_change', { status: evil, changes: [{ path: evil, kind: evil, diff: evil }] }],
    ['tool_call', { server: evil, tool: evil, status: evil }],
    ['error', { message: evil }],
    [
      'approval_requested',
      {
        kind: evil,
        summary: evil,
        command: evil,
        questions: [{ header: evil, question: evil, options: [{ label: evil }] }],
      },
    ],
    ['approval_resolved', { resolution: evil, reason: evil }],
    ['backend_status', { phase: 'attempt-ended', attempt: 1, failureKind: evil, reason: evil }],
    ['events_lost', { count: 1, from: evil, to: evil, reason: evil }],
    ['event_truncated', { originalType: evil, bytes: 1 }],
    ['terminal_status', { terminalStatus: `${evil}`, message: evil }],
  ])('%s: text of others moves no cursor and begins no line', (type, payload) => {
    for (const line of text(type, payload).split('\n')) {
      expect(line).not.toMatch(/(?!\t)[\p{Cc}\p{Bidi_Control}]/u);
      expect(line).not.toMatch(/^■ turn completed/);
    }
  });

  it('is bounded: the beginning of a message, the end of an output, and says so', () => {
    const message = text('agent_message', { text: `${'a'.repeat(9_999)}😀${'b'.repeat(50_000)}` });
    expect(message.length).toBeLessThan(10_100);
    expect(message).toMatch(/a\n {2}… 50002 characters more$/);
    const lines = Array.from({ length: 100 }, (_, index) => `line ${index + 1}`);
    const output = text('command_execution', { ...ended, output: lines.join('\n') }).split('\n');
    expect(output.slice(0, 3)).toEqual(['$ npm test', '  … 60 lines more', '  line 61']);
    expect(output.slice(-2)).toEqual(['  line 100', '  (exit code 0)']);
    const long = text('command_execution', { ...ended, output: 'x'.repeat(100_000) });
    expect(long.length).toBeLessThan(4_100);
    expect(long).toContain('\n  … 96000 characters more\n');
    expect(text('error', { message: 'x'.repeat(100_000) }).length).toBeLessThan(2_100);
  });

  it('hides a few lines only if there are more', () => {
    const of = (count: number) =>
      text('command_execution', { ...ended, output: 'x\n'.repeat(count) })
        .split('\n')
        .slice(1, -1);
    expect(of(42)).toEqual(Array.from({ length: 42 }, () => '  x'));
    expect(of(43)).toEqual(['  … 3 lines more', ...Array.from({ length: 40 }, () => '  x')]);
    // A line that is cut is one that is missing.
    expect(of(1)).toEqual(['  x']);
    const wide = text('command_execution', {
      ...ended,
      output: `${'a'.repeat(3_000)}\n${'b'.repeat(3_000)}`,
    });
    expect(wide.split('\n')[1]).toBe('  … 1 line more');
    expect(wide).not.toContain('a'.repeat(2));
  });

  it('survives payloads of any form', () => {
    for (const odd of [null, 1, [], [null, 1, 'x', []], {}, '']) {
      const payload = { text: odd, command: odd, changes: odd, questions: odd, message: odd, output: odd };
      for (const type of ['user_message', 'command_execution', 'file_change', 'approval_requested'] as const)
        expect(text(type, payload)).not.toBe('');
    }
  });
});
