import { styleText } from 'node:util';
import type { RunEvent } from '../contract/events.js';
import type { JsonObject } from '../contract/json.js';
import { requestedEventLines, resolvedEventLines } from './request-lines.js';
import { escapeText, oneLine, readableError, withoutColours } from './terminal-text.js';
import { indent, textLines } from './text-width.js';

const outputLines = 12;
/** Fewer are not worth a line that says that they are missing. */
const fewestHidden = 3;
const longestOutputLine = 300;

/**
 * How `watch` shows an event: a line or a few; an empty list for what only machines need. With the session's id a request of the agent comes with
 * the command that answers it; with `columns` text is wrapped for a terminal that is so wide. What the agent wrote is escaped: it can neither move the
 * cursor nor look like a line of ours.
 */
export function eventLines(event: RunEvent, sessionId?: string, columns: number | null = null): string[] {
  const { payload } = event;
  switch (event.type) {
    case 'user_message':
      // A note of AgentRun to the agent, not a person's message (docs/adr/0011).
      return line(payload.commandId).startsWith('note_')
        ? labelled('note to the agent', firstLine(text(payload.text)), 'gray', columns)
        : labelled('you', text(payload.text), 'cyan', columns);
    case 'agent_message':
      return labelled('agent', text(payload.text), 'green', columns);
    case 'reasoning':
      return text(payload.text) === '' ? [] : labelled('thinking', text(payload.text), 'gray', columns);
    case 'plan':
      return labelled('plan', text(payload.text), 'gray', columns);
    case 'command_execution':
      return payload.status === 'inProgress' ? commandHead(event) : commandEnd(event);
    case 'file_change':
      return fileLines(event);
    case 'tool_call':
      return labelled(
        'tool',
        [payload.server, payload.tool, payload.status]
          .map(line)
          .filter((word) => word !== '')
          .join(' '),
        'yellow',
        columns,
      );
    case 'steer_delivery':
      return [styleText('cyan', `  steer ${line(payload.delivery)}`)];
    case 'error':
      return labelled(
        payload.willRetry === true ? 'retrying' : 'error',
        text(readable(payload.message)),
        'red',
        columns,
      );
    case 'attempt_started':
      return [
        styleText(
          'gray',
          `· attempt ${event.attempt} started${payload.reused === true ? ' on the warm runner' : ''}`,
        ),
      ];
    case 'terminal_status':
      return [endLine(payload)];
    case 'approval_requested':
      return requestedEventLines(payload, sessionId);
    case 'approval_resolved':
      return resolvedEventLines(payload);
    case 'backend_status':
      return statusLines(event);
    case 'event_truncated':
      return [
        marker(
          `an event was too large to be kept: ${line(payload.originalType)}, ${count(payload.bytes)} bytes`,
        ),
      ];
    case 'events_lost':
      return [
        marker(
          `${count(payload.count)} events were lost, from ${line(payload.from)} to ${line(payload.to)}${bracketed(line(payload.reason))}`,
        ),
      ];
    case 'budget':
    case 'diff':
    case 'storage':
    case 'timeout_warning':
    case 'usage':
      return [];
  }
}

/** Something is missing here, and this is what is known of it. */
export const marker = (what: string): string => styleText('red', `! ${what}`);

const colours = ['cyan', 'green', 'gray', 'yellow', 'red'] as const;
type Colour = (typeof colours)[number];

function labelled(label: string, body: string, colour: Colour, columns: number | null): string[] {
  const [first = '', ...rest] = textLines(body, label.length + '> '.length, columns);
  return [`${styleText(colour, `${label}>`)} ${first}`, ...rest.map(indented)];
}

const indented = (one: string) => (one === '' ? '' : `${indent}${one}`);

function firstLine(body: string): string {
  const [first = '', ...rest] = body.split('\n');
  return rest.length === 0 ? first : `${first} …`;
}

/** `$ command`, as it begins. */
export function commandHead({ payload }: RunEvent): string[] {
  const [first = '', ...rest] = text(payload.command).split('\n');
  return [`$ ${first}`, ...rest.map((more) => `  ${more}`)].map((shown) => styleText('yellow', shown));
}

/** What a command left: the end of its output, how it ended if not well, how long it took if a person noticed. */
function commandEnd({ payload }: RunEvent): string[] {
  const output = printed(payload.output).trimEnd();
  const lines = output === '' ? [] : output.split('\n');
  const hidden = lines.length >= outputLines + fewestHidden ? lines.length - outputLines : 0;
  const shown = lines
    .slice(hidden)
    .map((one) => (one === '' ? '' : styleText('gray', `  ${shortened(one)}`)));
  const { exitCode, status, durationMs, outputOmittedBytes } = payload;
  const more = [
    hidden === 0 ? '' : `${hidden} lines`,
    typeof outputOmittedBytes === 'number' ? `${count(outputOmittedBytes)} bytes` : '',
  ].filter((word) => word !== '');
  const cut = more.length === 0 ? [] : [styleText('gray', `  … ${more.join(' and ')} more`)];
  const bad =
    typeof exitCode === 'number' && exitCode !== 0
      ? `exit code ${exitCode}`
      : status === 'declined' || (status === 'failed' && exitCode !== 0)
        ? status
        : '';
  const took = typeof durationMs === 'number' && durationMs > 1_000 ? duration(durationMs) : '';
  const end = [bad, took].filter((word) => word !== '').join(', ');
  return [...cut, ...shown, ...(end === '' ? [] : [styleText(bad === '' ? 'gray' : 'red', `  ${end}`)])];
}

function fileLines({ payload }: RunEvent): string[] {
  const { changes, status } = payload;
  if (status === 'inProgress' || !Array.isArray(changes)) return [];
  const bad = status === 'completed' ? '' : bracketed(line(status));
  return changes.map((change) => {
    const fields = typeof change === 'object' && change !== null && !Array.isArray(change) ? change : {};
    const counts = changeCounts(line(fields.kind), text(fields.diff));
    return styleText('yellow', `± ${line(fields.path)}${bracketed(counts)}${bad}`);
  });
}

/** `+2 −1`. Agents show a file that is new or deleted by its text alone. */
function changeCounts(kind: string, diff: string): string {
  const lines = diff.replace(/\n$/, '').split('\n');
  const firstHunk = lines.findIndex((one) => one.startsWith('@@'));
  const counted = (sign: string, whole: string) =>
    firstHunk === -1
      ? Number(kind === whole && diff !== '') * lines.length
      : lines.slice(firstHunk).filter((one) => one.startsWith(sign)).length;
  const [added, removed] = [counted('+', 'add'), counted('-', 'delete')];
  return [kind === 'update' ? '' : kind, added === 0 ? '' : `+${added}`, removed === 0 ? '' : `−${removed}`]
    .filter((word) => word !== '')
    .join(' ');
}

const bracketed = (words: string) => (words === '' ? '' : ` (${words})`);

/** How long something took, for a person. */
export function duration(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

/** What a person who watches wants to know of the way of the turn; the rest is for machines. */
function statusLines({ payload }: RunEvent): string[] {
  const why = `${line(payload.failureKind)}: ${line(readable(payload.reason))}`;
  switch (line(payload.phase)) {
    case 'attempt-ended':
      return [
        styleText('yellow', `· attempt ${Number(payload.attempt)} ended (${why}); the next one goes on`),
      ];
    case 'parked':
      return [
        styleText(
          'yellow',
          payload.parkedFor === 'person'
            ? '· parked until somebody answers; the runner is released'
            : `· parked until the limit of the provider is over (${why})`,
        ),
      ];
    case 'thread-lost':
      return [styleText('yellow', '· the agent’s conversation is lost; it begins a new one')];
    case 'compacting':
      return [styleText('gray', '· the conversation is made shorter first')];
    case 'cancel-requested':
      return [styleText('yellow', '· a cancel was requested')];
    default:
      return [];
  }
}

/** How a turn ended, and why. */
export function endLine({ terminalStatus, failureKind, message }: JsonObject): string {
  const status = line(terminalStatus);
  const why = [line(failureKind), line(readable(message))].filter((one) => one !== '').join(': ');
  return styleText(status === 'completed' ? 'green' : 'red', `■ turn ${status}${bracketed(why)}`);
}

function text(value: unknown): string {
  return typeof value === 'string' ? escapeText(value) : '';
}

function line(value: unknown): string {
  return typeof value === 'string' ? oneLine(value) : '';
}

const readable = (value: unknown) => (typeof value === 'string' ? readableError(value) : value);

function count(value: unknown): string {
  return typeof value === 'number' ? value.toLocaleString('en') : 'some';
}

/** The output of a program: its colours are left out, they are not for here. */
function printed(value: unknown): string {
  return typeof value === 'string' ? escapeText(withoutColours(value)) : '';
}

const shortened = (one: string) =>
  one.length > longestOutputLine ? `${one.slice(0, longestOutputLine)}…` : one;
