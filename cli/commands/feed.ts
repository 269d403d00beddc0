import { styleText } from 'node:util';
import type { Command } from 'commander';
import { ConnectionError } from '../../client/index.js';
import type { EventType } from '../../contract/events.js';
import { routes } from '../../contract/routes/index.js';
import type { FeedEvent } from '../../contract/streams.js';
import { findApi } from '../api-access.js';
import { commandHead, eventLines, marker } from '../event-lines.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { createOutput, type Output } from '../output.js';
import { untilStopped } from '../stop-signals.js';
import { oneLine } from '../terminal-text.js';
import { tellWaiting } from '../waiting-remarks.js';
import type { Run } from './run-command.js';

/** Of a command that has ended; its beginning has shown all of it. */
const longestName = 40;
const feedOptions = { 'Last-Event-ID': '--after' };

interface FeedOptions {
  readonly after?: string;
  readonly latest?: boolean;
}

/** Adds `feed`: every event of the installation, one line each, until Ctrl-C. */
export function addFeedCommand(program: Command, run: Run): void {
  program
    .command('feed')
    .description(
      'follow what happens in the installation, or in the tenant of the token, until Ctrl-C; --json has every event',
    )
    .option('--after <cursor>', 'go on after this event: its id, as --json shows it')
    .option('--latest', 'only what happens from now on; default: everything that is stored, first')
    .action((options: FeedOptions, command: Command) =>
      run(command, () => follow(options, createOutput(command.optsWithGlobals().json === true)), {
        optionNames: feedOptions,
      }),
    );
}

async function follow({ after, latest }: FeedOptions, output: Output): Promise<number> {
  if (after !== undefined && latest === true) throw new UsageError('--after, --latest: give one of them');
  const { client } = findApi();
  const told = tellWaiting(output);
  const stop = new AbortController();
  let reached = false;
  let unreachable: ConnectionError | undefined;
  let live = false;
  await untilStopped(async (signal) => {
    const frames = client.stream(
      routes.streamFeed,
      { after, ...(latest === true ? { start: 'latest' } : {}) },
      {
        signal: AbortSignal.any([signal, stop.signal]),
        budget: 'unlimited',
        onState: (state) => {
          // Only what was there once is waited for: an address may be wrong.
          if (!reached && state.kind === 'waiting' && state.error instanceof ConnectionError) {
            unreachable = state.error;
            stop.abort();
            return;
          }
          reached = true;
          told(state);
        },
      },
    );
    for await (const frame of frames) {
      output.data(frame);
      if (frame.frame === 'event') output.line(...feedLine(frame.data));
      if (frame.frame === 'caught-up' && !live) {
        live = true;
        output.remark('what comes now happens now');
      }
      if (frame.frame === 'gap')
        output.line(marker(`older events are not kept any more (${frame.data.reason})`));
    }
  });
  if (unreachable !== undefined) throw unreachable;
  return exitCodes.ok;
}

/** When, where and what, in one line; none for what only machines need. */
export function feedLine(event: FeedEvent): string[] {
  const what = whatText(event);
  if (what === '') return [];
  const where = oneLine(`${event.tenantId}/${event.projectId} ${event.sessionId}`);
  return [`${styleText('gray', `${event.at} ${where}`)} ${what}`];
}

function whatText(event: FeedEvent): string {
  const { type, payload } = event;
  if (type === 'command_execution') return commandText(event);
  if (type === 'usage') {
    const { totalTokens } = payload;
    return typeof totalTokens === 'number' && totalTokens > 0
      ? `usage ${totalTokens.toLocaleString('en')} tokens`
      : '';
  }
  const [first, ...more] = eventLines(event);
  if (first === undefined) return silent.has(type) ? '' : type;
  return `${first.trimStart()}${more.length === 0 ? '' : ' …'}`;
}

/** Types whose events without a line say nothing that others do not say. */
const silent: ReadonlySet<EventType> = new Set(['backend_status', 'reasoning', 'file_change']);

/** The end of a command says whose it is and how it ended, not what it printed. */
function commandText(event: FeedEvent): string {
  const { status, exitCode, command } = event.payload;
  const [first = '', ...more] = commandHead(event);
  if (status === 'inProgress') return `${first}${more.length === 0 ? '' : ' …'}`;
  const whole = typeof command === 'string' ? command : '';
  const [short = ''] = whole.split('\n');
  const name = short.length > longestName ? short.slice(0, longestName) : short;
  const ended =
    typeof exitCode === 'number'
      ? `exit code ${exitCode}`
      : oneLine(typeof status === 'string' ? status : 'somehow');
  return `${styleText('yellow', `$ ${oneLine(name)}${name === whole ? '' : ' …'}`)} ended, ${ended}`;
}
