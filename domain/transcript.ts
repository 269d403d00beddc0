import type { EventType, RunEvent } from '../contract/events.js';
import type { JsonObject, JsonValue } from '../contract/json.js';
import { firstPart, lastPart, plainText, printedText, readableError } from './plain-text.js';

/** What a transcript shows of a message, of one line of other things, and of a command's output (its end). In UTF-16 units. */
const longestMessage = 10_000;
const longestLine = 2_000;
const longestOutput = 4_000;
const mostOutputLines = 40;
const fewestHiddenLines = 3;

/**
 * How an event reads in the transcript of its run (`output`): plain text, no colours, bounded; empty for what is no part of it. Each thing is there once,
 * when it has ended: a command that is in progress comes with its end, and one whose runner was lost before has none, which `attempt-ended` says. What the
 * agent wrote begins no line, so that it cannot look like a line of ours.
 *
 * | event | text |
 * |---|---|
 * | `user_message`, `agent_message` | `you>`, `agent>` and the message; `note>` and the first line (of AgentRun to the agent) |
 * | `command_execution`, ended | `$ command`, the end of its output and how much is missing of it, how it ended |
 * | `file_change`, ended | `± path (+2 −1)`, a line for each |
 * | `tool_call`, ended | `tool> server tool status` |
 * | `error` | `error>`, or `retrying>` |
 * | `approval_requested`, `approval_resolved` | all that is asked for; the end |
 * | `backend_status` of an attempt that ended and is followed by another | `· attempt 1 ended (…)` |
 * | `events_lost`, `event_truncated` | what is missing, and why |
 * | `terminal_status` | `■ turn completed` |
 */
export function transcriptText({ type, payload }: Pick<RunEvent, 'type' | 'payload'>): string {
  return (texts[type]?.(payload) ?? []).join('\n');
}

const texts: Readonly<Partial<Record<EventType, (payload: JsonObject) => string[]>>> = {
  // A note of AgentRun to the agent, not a person's message (docs/adr/0011).
  user_message: ({ commandId, text }) =>
    lineOf(commandId).startsWith('note_')
      ? said('note', firstLine(textOf(text)), longestMessage)
      : said('you', textOf(text), longestMessage),
  agent_message: ({ text }) => said('agent', textOf(text), longestMessage),
  command_execution: (payload) => (payload.status === 'inProgress' ? [] : commandLines(payload)),
  file_change: (payload) => (payload.status === 'inProgress' ? [] : changeLines(payload)),
  tool_call: ({ status, server, tool }) =>
    status === 'inProgress'
      ? []
      : [
          `tool> ${[server, tool, status]
            .map(lineOf)
            .filter((word) => word !== '')
            .join(' ')}`,
        ],
  error: ({ message, willRetry }) =>
    said(willRetry === true ? 'retrying' : 'error', readableError(textOf(message)), longestLine),
  approval_requested: requestLines,
  approval_resolved: ({ resolution, reason }) => [`  request ${lineOf(resolution)}${inBrackets(reason)}`],
  backend_status: ({ phase, attempt, failureKind, reason }) =>
    phase === 'attempt-ended'
      ? [
          `· attempt ${numberOf(attempt)} ended${inBrackets(failureKind, readable(reason))}; the next one goes on`,
        ]
      : [],
  events_lost: ({ count, from, to, reason }) => [
    `! ${numberOf(count)} events were lost, from ${lineOf(from)} to ${lineOf(to)}${inBrackets(reason)}`,
  ],
  event_truncated: ({ originalType, bytes }) => [
    `! an event was too large to be kept: ${lineOf(originalType)}, ${numberOf(bytes)} bytes`,
  ],
  terminal_status: ({ terminalStatus, failureKind, message }) => [
    `■ turn ${lineOf(terminalStatus)}${inBrackets(failureKind, readable(message))}`,
  ],
};

function said(label: string, text: string, limit: number): string[] {
  const { text: shown, omitted } = firstPart(text, limit);
  const [first = '', ...rest] = plainText(shown).split('\n');
  return [
    `${label}> ${first}`.trimEnd(),
    ...rest.map(indented),
    ...(omitted === 0 ? [] : [`  … ${omitted} characters more`]),
  ];
}

function commandLines(payload: JsonObject): string[] {
  const { command, status, output, exitCode, durationMs, outputOmittedBytes } = payload;
  const { text: shown, omitted } = firstPart(textOf(command), longestLine);
  const [first = '', ...rest] = plainText(omitted === 0 ? shown : `${shown}…`).split('\n');
  const ends = [
    typeof exitCode === 'number' ? `exit code ${exitCode}` : '',
    status === 'declined' || (status === 'failed' && typeof exitCode !== 'number') ? status : '',
    typeof durationMs === 'number' && durationMs > 1_000 ? `${(durationMs / 1_000).toFixed(1)} s` : '',
  ].filter((end) => end !== '');
  return [
    `$ ${first}`,
    ...rest.map(indented),
    ...outputLines(textOf(output), typeof outputOmittedBytes === 'number' ? outputOmittedBytes : 0),
    ...(ends.length === 0 ? [] : [`  (${ends.join(', ')})`]),
  ];
}

/** The end of it, behind a line that says what is missing: `omittedBytes` were not kept at all. */
function outputLines(output: string, omittedBytes: number): string[] {
  const whole = output.trimEnd();
  const count = whole.split('\n').length;
  const kept = lastPart(whole, longestOutput);
  const lines = kept.split('\n');
  // The first one may be cut anywhere.
  if (kept !== whole && lines.length > 1) lines.shift();
  const shown = lines.length < mostOutputLines + fewestHiddenLines ? lines : lines.slice(-mostOutputLines);
  const hidden = count - shown.length;
  const isCut = hidden === 0 && kept !== whole;
  const missing = [
    hidden === 0 ? '' : counted(hidden, 'line'),
    isCut ? counted(whole.length - kept.length, 'character') : '',
    omittedBytes === 0 ? '' : counted(omittedBytes, 'byte'),
  ].filter((part) => part !== '');
  return [
    ...(missing.length === 0 ? [] : [`  … ${missing.join(' and ')} more`]),
    ...(whole === '' ? [] : printedText(shown.join('\n')).split('\n').map(indented)),
  ];
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

function changeLines({ changes, status }: JsonObject): string[] {
  const bad = status === 'completed' ? '' : inBrackets(status);
  const files = objectsOf(changes).map(
    ({ path, kind, diff }) => `± ${lineOf(path)}${changeText(lineOf(kind), textOf(diff))}${bad}`,
  );
  return files.length === 0 ? [`± no file${bad}`] : files;
}

function changeText(kind: string, diff: string): string {
  const { added, removed } = changedLines(kind, diff);
  const counts = [added === 0 ? '' : `+${added}`, removed === 0 ? '' : `−${removed}`];
  const words = [kind === 'update' ? '' : kind, counts.filter((count) => count !== '').join(' ')];
  return inBrackets(...words);
}

/** Lines that a change adds and removes. Agents show a file that is new or deleted by its text alone. */
function changedLines(kind: string, diff: string): { added: number; removed: number } {
  const lines = diff.split('\n');
  const firstHunk = lines.findIndex((line) => line.startsWith('@@'));
  if (firstHunk !== -1) {
    const count = (sign: string) => lines.slice(firstHunk).filter((line) => line.startsWith(sign)).length;
    return { added: count('+'), removed: count('-') };
  }
  const all = diff === '' ? 0 : lines.length - (diff.endsWith('\n') ? 1 : 0);
  return { added: kind === 'add' ? all : 0, removed: kind === 'delete' ? all : 0 };
}

/** All of it: a person approves what stands here. */
function requestLines({ kind, summary, command, cwd, reason, details, questions }: JsonObject): string[] {
  const lines = [
    ...labelled('$', command),
    ...labelled('in', cwd),
    ...labelled('because', reason),
    ...labelled('', details),
    ...objectsOf(questions).flatMap(({ header, question, options }) => [
      ...labelled(lineOf(header), question),
      ...objectsOf(options).flatMap(({ label }) => labelled('-', label)),
    ]),
  ];
  return [`? the agent asks (${lineOf(kind)}): ${lineOf(summary)}`, ...lines.map((line) => `    ${line}`)];
}

function labelled(label: string, value: JsonValue | undefined): string[] {
  const text = textOf(value);
  return text === '' ? [] : plainText(label === '' ? text : `${label} ${text}`).split('\n');
}

function firstLine(text: string): string {
  const [first = '', ...rest] = text.split('\n');
  return rest.length === 0 ? first : `${first.trimEnd()} …`;
}

const readable = (value: JsonValue | undefined) => readableError(textOf(value));
const indented = (line: string) => (line === '' ? '' : `  ${line}`);

function inBrackets(...values: (JsonValue | undefined)[]): string {
  const words = values.map(lineOf).filter((word) => word !== '');
  return words.length === 0 ? '' : ` (${words.join(': ')})`;
}

const textOf = (value: JsonValue | undefined) => (typeof value === 'string' ? value : '');
const numberOf = (value: JsonValue | undefined) => (typeof value === 'number' ? String(value) : 'some');

function lineOf(value: JsonValue | undefined): string {
  const { text, omitted } = firstPart(textOf(value), longestLine);
  return plainText(omitted === 0 ? text : `${text}…`).replaceAll('\n', '\\n');
}

function objectsOf(value: JsonValue | undefined): JsonObject[] {
  if (!Array.isArray(value)) return [];
  return value.filter(
    (one): one is JsonObject => typeof one === 'object' && one !== null && !Array.isArray(one),
  );
}
