import type { EventType, RunEvent } from '../contract/events.js';
import type { JsonObject, JsonValue } from '../contract/json.js';
import { firstPart, lastPart, plainText, printedText } from './plain-text.js';

/** What a transcript shows of a message, of one line of other things, and of a command's output (its end). In UTF-16 units. */
const longestMessage = 10_000;
const longestLine = 2_000;
const longestOutput = 4_000;
const mostOutputLines = 40;

/**
 * How an event reads in the transcript of its run (`output`): plain text, no colours, bounded; empty for what is no part of it. Each thing is there once,
 * when it has ended: a command that is in progress comes with its end, and one whose runner was lost before has none, which `attempt-ended` says. What the
 * agent wrote begins no line, so that it cannot look like a line of ours.
 *
 * | event | text |
 * |---|---|
 * | `user_message`, `agent_message` | `you>`, `note>` (of AgentRun to the agent), `agent>`, and the message |
 * | `command_execution`, ended | `$ command`, the end of its output, how it ended if not well |
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
    said(lineOf(commandId).startsWith('note_') ? 'note' : 'you', textOf(text), longestMessage),
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
    said(willRetry === true ? 'retrying' : 'error', textOf(message), longestLine),
  approval_requested: requestLines,
  approval_resolved: ({ resolution, reason }) => [`  request ${lineOf(resolution)}${inBrackets(reason)}`],
  backend_status: ({ phase, attempt, failureKind, reason }) =>
    phase === 'attempt-ended'
      ? [`· attempt ${numberOf(attempt)} ended${inBrackets(failureKind, reason)}; the next one goes on`]
      : [],
  events_lost: ({ count, from, to, reason }) => [
    `! ${numberOf(count)} events were lost, from ${lineOf(from)} to ${lineOf(to)}${inBrackets(reason)}`,
  ],
  event_truncated: ({ originalType, bytes }) => [
    `! an event was too large to be kept: ${lineOf(originalType)}, ${numberOf(bytes)} bytes`,
  ],
  terminal_status: ({ terminalStatus, failureKind, message }) => [
    `■ turn ${lineOf(terminalStatus)}${inBrackets(failureKind, message)}`,
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

function commandLines({ command, status, output, exitCode, durationMs }: JsonObject): string[] {
  const { text: shown, omitted } = firstPart(textOf(command), longestLine);
  const [first = '', ...rest] = plainText(omitted === 0 ? shown : `${shown}…`).split('\n');
  const ends = [
    typeof exitCode === 'number' && exitCode !== 0 ? `exit code ${exitCode}` : '',
    status === 'declined' || (status === 'failed' && typeof exitCode !== 'number') ? status : '',
    typeof durationMs === 'number' && durationMs > 1_000 ? `${(durationMs / 1_000).toFixed(1)} s` : '',
  ].filter((end) => end !== '');
  return [
    `$ ${first}`,
    ...rest.map(indented),
    ...outputLines(textOf(output)),
    ...(ends.length === 0 ? [] : [`  (${ends.join(', ')})`]),
  ];
}

function outputLines(output: string): string[] {
  const whole = output.trimEnd();
  if (whole === '') return [];
  const kept = lastPart(whole, longestOutput);
  const lines = printedText(kept).split('\n');
  const isWhole = kept === whole && lines.length <= mostOutputLines;
  return [...(isWhole ? [] : ['  …']), ...lines.slice(-mostOutputLines).map(indented)];
}

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
