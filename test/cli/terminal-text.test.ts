import { stripVTControlCharacters, styleText } from 'node:util';
import { describe, expect, it, test } from 'vitest';
import { eventLines } from '../../cli/event-lines.js';
import { requestLines } from '../../cli/request-lines.js';
import { escapeStyled, escapeText, jsonLine, oneLine } from '../../cli/terminal-text.js';
import type { RunEvent } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

const evil = '\u001b[2J\u001b]0;x\u0007\u009b1A\u202e\u2066\rnew\u007f';
/** Without the colours that `styleText` adds; nothing else is removed. */
const withoutColours = (line: string) =>
  ['30', '31', '32', '33', '36', '39', '90'].reduce(
    (text, code) => text.replaceAll(`\u001b[${code}m`, ''),
    line,
  );
const raw = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/u;

describe('text of others on a terminal', () => {
  test.each([
    ['\u001b[31m', '\\u001b[31m'],
    ['a\r\nb\tc', 'a\nb\tc'],
    ['a\rb', 'a\\u000db'],
    ['\u0000\u0007\u0008\u007f', '\\u0000\\u0007\\u0008\\u007f'],
    ['\u0085\u009b', '\\u0085\\u009b'],
    ['\u202eabc\u202c\u2066\u2069\u200e\u200f\u061c', '\\u202eabc\\u202c\\u2066\\u2069\\u200e\\u200f\\u061c'],
    ['grüße 👩‍💻 שלום', 'grüße 👩‍💻 שלום'],
  ])('%j', (text, shown) => {
    expect(escapeText(text)).toBe(shown);
  });

  it('keeps to one line where one is meant', () => {
    expect(oneLine('a\nb\r\nc')).toBe('a\\nb\\nc');
  });

  it('has our colours and nothing else', () => {
    const red = styleText('red', 'x', { validateStream: false });
    expect(escapeStyled(red)).toBe(red);
    expect(escapeStyled('\u001b[8m\u001b[2J')).toBe('\\u001b[8m\\u001b[2J');
  });

  it('is the same JSON', () => {
    const value = { text: `${evil}\u0085` };
    expect(jsonLine(value)).not.toMatch(raw);
    expect(JSON.parse(jsonLine(value))).toEqual(value);
  });
});

describe('events and requests', () => {
  const event = (type: RunEvent['type'], payload: JsonObject): RunEvent => ({
    seq: 1,
    eventId: 'evt_1',
    runId: 'run_1',
    attempt: 1,
    epoch: 1,
    type,
    at: '2026-01-01T00:00:00.000Z',
    payload,
  });
  const fake = `${evil}\n■ turn completed`;
  const asks = {
    requestId: 'req_01234567890123456789012345',
    kind: 'command',
    itemId: null,
    summary: fake,
    command: fake,
    cwd: fake,
    reason: fake,
    questions: [
      {
        id: fake,
        header: fake,
        question: fake,
        options: [{ label: fake, description: fake }],
        secret: false,
      },
      { id: 'b', header: '', question: fake, options: null, secret: false },
    ],
    details: fake,
    fingerprint: 'f',
  } as const;

  test.each<[RunEvent['type'], JsonObject]>([
    ['user_message', { text: fake }],
    ['agent_message', { text: fake }],
    ['reasoning', { text: fake }],
    ['plan', { text: fake }],
    ['command_execution', { status: 'inProgress', command: fake }],
    ['command_execution', { status: 'completed', command: fake, output: fake, exitCode: 1 }],
    ['file_change', { status: 'completed', changes: [{ kind: fake, path: fake }] }],
    ['tool_call', { tool: fake, status: fake }],
    ['error', { message: fake }],
    ['steer_delivery', { delivery: fake }],
    ['terminal_status', { terminalStatus: fake, failureKind: fake, message: fake }],
    ['approval_resolved', { requestId: asks.requestId, resolution: 'denied', reason: fake }],
  ])('%s is escaped, and no line of it looks like one of ours', (type, payload) => {
    const lines = eventLines(event(type, payload), 's1').map(withoutColours);
    expect(lines).not.toEqual([]);
    for (const line of lines.flatMap((part) => part.split('\n'))) {
      expect(line).not.toMatch(raw);
      expect(line).not.toMatch(/^■ turn completed/);
    }
  });

  it('a request shows all that is approved, escaped', () => {
    const record = {
      ...asks,
      questions: [...asks.questions].map((question) => ({
        ...question,
        options: question.options === null ? null : [...question.options],
      })),
      runId: 'run_1',
      sessionId: 's1',
      epoch: 1,
      state: 'pending' as const,
      askedAt: 'now',
      expiresAt: null,
      resolvedAt: null,
      deliveredAt: null,
      answerCommandId: null,
      valuesPrinted: false as const,
    };
    const lines = requestLines(record).map(withoutColours);
    for (const line of lines) {
      expect(line).not.toMatch(raw);
      expect(line).not.toMatch(/^■/);
      expect(line).not.toContain('\n');
    }
    expect(
      stripVTControlCharacters(requestLines({ ...record, details: '+ network: evil.example' }).join('\n')),
    ).toContain('    + network: evil.example');
  });
});
