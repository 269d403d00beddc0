import { styleText } from 'node:util';
import type { RunEvent } from '../contract/events.js';
import { requestedEventLines, resolvedEventLines } from './request-lines.js';
import { escapeText, oneLine } from './terminal-text.js';

const outputLines = 12;

/**
 * How `watch` shows an event: a line or a few; an empty list for what only machines need. With the session's id a request of the agent comes with
 * the command that answers it. What the agent wrote is escaped: it can neither move the cursor nor look like a line of ours.
 */
export function eventLines(event: RunEvent, sessionId?: string): string[] {
  const { payload } = event;
  switch (event.type) {
    case 'user_message':
      // A note of AgentRun to the agent, not a person's message (docs/adr/0011).
      return line(payload.commandId).startsWith('note_')
        ? labelled('note to the agent', text(payload.text), 'gray')
        : labelled('you', text(payload.text), 'cyan');
    case 'agent_message':
      return labelled('agent', text(payload.text), 'green');
    case 'reasoning':
      return text(payload.text) === '' ? [] : labelled('thinking', text(payload.text), 'gray');
    case 'plan':
      return labelled('plan', text(payload.text), 'gray');
    case 'command_execution':
      return commandLines(event);
    case 'file_change':
      return fileLines(event);
    case 'tool_call':
      return labelled('tool', `${line(payload.tool)} ${line(payload.status)}`, 'yellow');
    case 'steer_delivery':
      return [styleText('cyan', `  steer ${line(payload.delivery)}`)];
    case 'error':
      return labelled(payload.willRetry === true ? 'retrying' : 'error', text(payload.message), 'red');
    case 'attempt_started':
      return [
        styleText(
          'gray',
          `· attempt ${event.attempt} started${payload.reused === true ? ' on the warm runner' : ''}`,
        ),
      ];
    case 'terminal_status':
      return terminalLines(event);
    case 'approval_requested':
      return requestedEventLines(payload, sessionId);
    case 'approval_resolved':
      return resolvedEventLines(payload);
    case 'backend_status':
      return statusLines(event);
    case 'budget':
    case 'diff':
    case 'event_truncated':
    case 'events_lost':
    case 'storage':
    case 'timeout_warning':
    case 'usage':
      return [];
  }
}

const colours = ['cyan', 'green', 'gray', 'yellow', 'red'] as const;
type Colour = (typeof colours)[number];

function labelled(label: string, body: string, colour: Colour): string[] {
  const [first = '', ...rest] = body.split('\n');
  return [`${styleText(colour, `${label}>`)} ${first}`, ...rest.map((line) => `  ${line}`)];
}

function commandLines(event: RunEvent): string[] {
  const { payload } = event;
  if (payload.status === 'inProgress') {
    const [first = '', ...rest] = text(payload.command).split('\n');
    return [`$ ${first}`, ...rest.map((more) => `  ${more}`)].map((shown) => styleText('yellow', shown));
  }
  const lines = text(payload.output)
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '');
  const shown = lines.slice(-outputLines).map((line) => styleText('gray', `  ${line}`));
  const cut =
    lines.length > outputLines ? [styleText('gray', `  … ${lines.length - outputLines} lines more`)] : [];
  const exitCode = payload.exitCode;
  const failed =
    typeof exitCode === 'number' && exitCode !== 0 ? [styleText('red', `  exit code ${exitCode}`)] : [];
  return [...cut, ...shown, ...failed];
}

function fileLines(event: RunEvent): string[] {
  const { changes, status } = event.payload;
  if (status === 'inProgress' || !Array.isArray(changes)) return [];
  return changes.map((change) => {
    const fields = typeof change === 'object' && change !== null && !Array.isArray(change) ? change : {};
    return styleText('yellow', `± ${line(fields.kind)} ${line(fields.path)}`);
  });
}

/** What a person who watches wants to know of the way of the turn; the rest is for machines. */
function statusLines({ payload }: RunEvent): string[] {
  const why = `${line(payload.failureKind)}: ${line(payload.reason)}`;
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

function terminalLines(event: RunEvent): string[] {
  const status = line(event.payload.terminalStatus);
  const reasons = [line(event.payload.failureKind), line(event.payload.message)].filter((one) => one !== '');
  const why = reasons.length === 0 ? '' : ` (${reasons.join(': ')})`;
  return [styleText(status === 'completed' ? 'green' : 'red', `■ turn ${status}${why}`)];
}

function text(value: unknown): string {
  return typeof value === 'string' ? escapeText(value) : '';
}

function line(value: unknown): string {
  return typeof value === 'string' ? oneLine(value) : '';
}
