import type { Command } from 'commander';
import { ApiError } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import { type ApiAccess, findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { createOutput, type Output, ReaderGone } from '../output.js';
import { untilStopped } from '../stop-signals.js';
import { parsePlace, type RunPlace, type WatchPlace } from '../watch-cursor.js';
import { WatchCursorFile } from '../watch-cursor-file.js';
import { WatchScreen } from '../watch-screen.js';
import { type WatchFrame, watchSession } from '../watch-session.js';
import type { Run } from './run-command.js';

/** For a person it is at once; a burst is shown and noted together. */
const paceMs = 100;
const watchOptions = { sessionId: '<sessionId>', runId: '--after' };

interface WatchCommandOptions {
  readonly follow?: boolean;
  readonly fromStart?: boolean;
  readonly after?: string;
}

/** Adds `watch`. */
export function addWatchCommand(program: Command, run: Run): void {
  program
    .command('watch')
    .description('show the events of a session live; one that was killed goes on where it was')
    .argument('<sessionId>')
    .option('--follow', 'go on when the turn has ended, and wait for the next')
    .option('--from-start', 'from the beginning of the active or last turn')
    .option('--after <cursor>', 'after this event: <turn>.<seq>, the id of --json, or RUN:SEQ')
    .action((sessionId: string, options: WatchCommandOptions, command: Command) =>
      run(command, () => watch(sessionId, options, createOutput(command.optsWithGlobals().json === true)), {
        sessionToCreate: sessionId,
        optionNames: watchOptions,
      }),
    );
}

async function watch(sessionId: string, options: WatchCommandOptions, output: Output): Promise<number> {
  const access = findApi();
  const given = options.after === undefined ? undefined : parsePlace(options.after);
  if (options.after !== undefined && given === undefined) {
    throw new UsageError('--after: expected <turn>.<seq> or RUN:SEQ, for example 2.12 or run_…:12');
  }
  const stored = options.fromStart === true ? null : new WatchCursorFile(access.dataDir, sessionId).read();
  const from = given ?? (stored === null ? null : await storedPlace(access, { sessionId, stored }, output));
  return showSession(access, { sessionId, from, follow: options.follow === true }, output);
}

/** Where the last watch ended, if that run is still there: a session may have been deleted and made again. */
async function storedPlace(
  { client }: ApiAccess,
  { sessionId, stored }: { sessionId: string; stored: RunPlace },
  output: Output,
): Promise<WatchPlace | null> {
  try {
    const run = await client.call(routes.getRun, { params: { runId: stored.runId } });
    if (run.sessionId === sessionId) {
      output.remark(`going on after ${stored.runId}:${stored.seq} (--from-start shows the whole turn)`);
      return run.sessionTurn === null ? stored : { turn: run.sessionTurn, seq: stored.seq };
    }
  } catch (error) {
    if (!(error instanceof ApiError && error.failureKind === 'not-found')) throw error;
  }
  output.remark(
    `what was watched last, ${stored.runId}, is not there any more: from the beginning of the turn`,
  );
  return null;
}

/**
 * Shows a session until its last turn has ended, and notes what was shown, so that a later watch goes on there. Exit code 1 when the last
 * turn seen ended otherwise than completed.
 */
export async function showSession(
  { client, dataDir }: ApiAccess,
  watched: { readonly sessionId: string; readonly from: WatchPlace | null; readonly follow: boolean },
  output: Output,
): Promise<number> {
  const file = new WatchCursorFile(dataDir, watched.sessionId);
  const screen = new WatchScreen(output, watched.sessionId);
  const status = await untilStopped((signal) =>
    watchSession({
      client,
      ...watched,
      signal,
      paceMs,
      onFrames: (frames) => showNoted(frames, screen, file),
      onWaiting: (reason) => {
        output.remark(reason === null ? 'the API is back' : `the API does not answer (${reason}); waiting`);
      },
    }).finally(() => screen.close()),
  );
  return status === null || status === 'completed' ? exitCodes.ok : exitCodes.failed;
}

/** Notes where the watcher is right before it is shown (cli/watch-cursor-file.ts). */
function showNoted(frames: readonly WatchFrame[], screen: WatchScreen, file: WatchCursorFile): void {
  const places = frames.flatMap((frame) => (frame.frame === 'event' ? [frame.data] : []));
  const [first, last] = [places.at(0), places.at(-1)];
  if (last !== undefined) file.write(last);
  try {
    screen.show(frames);
  } catch (error) {
    // Nobody has read it.
    if (error instanceof ReaderGone && first !== undefined)
      file.write({ runId: first.runId, seq: first.seq - 1 });
    throw error;
  }
}
