import { styleText } from 'node:util';
import type { Command } from 'commander';
import { errorText } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import type { FeedEvent } from '../../contract/streams.js';
import { findApi } from '../api-access.js';
import { commandHead, eventLines, marker } from '../event-lines.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput, type Output } from '../output.js';
import { untilStopped } from '../stop-signals.js';
import { oneLine } from '../terminal-text.js';
import type { Run } from './run-command.js';

const feedOptions = { 'Last-Event-ID': '--after' };

interface FeedOptions {
  readonly after?: string;
  readonly latest?: boolean;
}

/** Adds `feed`: every event of the installation, one line each, until Ctrl-C. */
export function addFeedCommand(program: Command, run: Run): void {
  program
    .command('feed')
    .description('follow every event of the installation, or of the tenant of the token, until Ctrl-C')
    .option('--after <cursor>', 'go on after this event: its id, as --json shows it')
    .option('--latest', 'only what happens from now on; default: everything that is stored, first')
    .action((options: FeedOptions, command: Command) =>
      run(command, () => follow(options, createOutput(command.optsWithGlobals().json === true)), {
        optionNames: feedOptions,
      }),
    );
}

async function follow({ after, latest }: FeedOptions, output: Output): Promise<number> {
  const { client } = findApi();
  let waiting = false;
  await untilStopped(async (signal) => {
    const frames = client.stream(
      routes.streamFeed,
      { after, ...(latest === true ? { start: 'latest' } : {}) },
      {
        signal,
        budget: 'unlimited',
        onState: (state) => {
          if (state.kind === 'connected' && waiting) output.remark('the API is back');
          if (state.kind === 'waiting' && !waiting)
            output.remark(`the API does not answer (${errorText(state.error)}); waiting`);
          waiting = state.kind === 'waiting';
        },
      },
    );
    for await (const frame of frames) {
      output.data(frame);
      if (frame.frame === 'event') output.line(feedLine(frame.data));
      if (frame.frame === 'gap')
        output.line(marker(`older events are not kept any more (${frame.data.reason})`));
    }
  });
  return exitCodes.ok;
}

/** When, where and what, in one line. */
export function feedLine(event: FeedEvent): string {
  const where = oneLine(`${event.tenantId}/${event.projectId} ${event.sessionId}`);
  return `${styleText('gray', `${event.at} ${where}`)} ${whatLine(event)}`;
}

function whatLine(event: FeedEvent): string {
  const { type, payload } = event;
  // The end of a command says whose it is, not what it printed.
  const lines = type === 'command_execution' ? commandHead(event) : eventLines(event);
  const [first, ...more] = lines;
  if (first === undefined)
    return `${type}${typeof payload.phase === 'string' ? ` ${oneLine(payload.phase)}` : ''}`;
  const ended = type === 'command_execution' && payload.status !== 'inProgress' ? ' ended' : '';
  const exit = typeof payload.exitCode === 'number' ? `, exit code ${payload.exitCode}` : '';
  return `${first.trimStart()}${more.length === 0 ? '' : ' …'}${ended === '' ? '' : `${ended}${exit}`}`;
}
