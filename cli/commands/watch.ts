import type { Command } from 'commander';
import { ApiError } from '../../client/index.js';
import type { RunEvent } from '../../contract/events.js';
import { routes } from '../../contract/routes/index.js';
import { type ApiAccess, findApi } from '../api-access.js';
import { endLine } from '../event-lines.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { createOutput, type Output, ReaderGone } from '../output.js';
import { type StopSignal, untilStopped } from '../stop-signals.js';
import { totalsOfRun } from '../turn-totals.js';
import { tellWaiting } from '../waiting-remarks.js';
import { cursorText, parsePlace, type RunPlace, type WatchPlace } from '../watch-cursor.js';
import { WatchCursorFile } from '../watch-cursor-file.js';
import { WatchScreen } from '../watch-screen.js';
import { type WatchEnd, type WatchFrame, watchSession } from '../watch-session.js';
import type { Run } from './run-command.js';

/** For a person it is at once; a burst is shown and noted together. */
const paceMs = 100;
const watchOptions = { sessionId: '<sessionId>', runId: '--after' };
const stopCodes: Readonly<Record<StopSignal, number>> = {
  SIGINT: exitCodes.interrupted,
  SIGTERM: exitCodes.terminated,
};

const help = `
Without an option it shows the active or last turn from its beginning, and ends with it. On a terminal, a watch that was
interrupted (Ctrl-C, killed) is gone on with by the next one, unless one of the session still runs elsewhere; one that
has shown all there was is not. Into a pipe or a file it always begins at the beginning, unless --resume is given.

Exit codes: 0 the last turn completed; 1 it ended otherwise, or there is none; 2 wrong arguments; 4 the session is not
there, or not for you; 5 the API cannot be reached at first (later it is waited for); 130, 143 ended by Ctrl-C, SIGTERM:
the turn goes on.`;

interface WatchCommandOptions {
  readonly follow?: boolean;
  readonly fromStart?: boolean;
  readonly after?: string;
  readonly resume?: boolean;
}

/** Adds `watch`. */
export function addWatchCommand(program: Command, run: Run): void {
  program
    .command('watch')
    .description('show the events of a session live')
    .argument('<sessionId>')
    .option('--follow', 'go on when the turn has ended, and wait for the next')
    .option('--from-start', 'from the beginning of the active or last turn')
    .option('--after <cursor>', 'after this event: <turn>.<seq>, the id of --json, or RUN:SEQ')
    .option('--resume', 'also into a pipe: go on where one with --resume was interrupted')
    .addHelpText('after', help)
    .action((sessionId: string, options: WatchCommandOptions, command: Command) =>
      run(command, () => watch(sessionId, options, createOutput(command.optsWithGlobals().json === true)), {
        sessionToCreate: sessionId,
        optionNames: watchOptions,
      }),
    );
}

async function watch(sessionId: string, options: WatchCommandOptions, output: Output): Promise<number> {
  const { after, fromStart = false, resume = false, follow = false } = options;
  const begins = [
    after === undefined ? '' : '--after',
    fromStart ? '--from-start' : '',
    resume ? '--resume' : '',
  ].filter((name) => name !== '');
  if (begins.length > 1) throw new UsageError(`${begins.join(', ')}: give one of them`);
  const given = after === undefined ? undefined : parsePlace(after);
  if (after !== undefined && given === undefined) {
    throw new UsageError('--after: expected <turn>.<seq> or RUN:SEQ, for example 2.12 or run_…:12');
  }
  const access = findApi();
  const file = cursorFile(access, sessionId, resume);
  const stored = given === undefined && !fromStart ? (file?.read() ?? null) : null;
  const from = stored === null ? (given ?? null) : await storedPlace(access, { sessionId, stored }, output);
  try {
    return await showSession(access, { sessionId, from, follow, file }, output);
  } catch (error) {
    // Its log was set back, as after a restore of the database.
    if (stored === null || from === null || !isRefused(error, 'cursor-ahead')) throw error;
    fromBeginning(stored, output);
    return showSession(access, { sessionId, from: null, follow, file }, output);
  }
}

/** Where a watch notes its place: on a terminal, or if it was asked to. What is written into a pipe may never be read. */
export function cursorFile(
  { dataDir }: ApiAccess,
  sessionId: string,
  resume = false,
): WatchCursorFile | null {
  return process.stdout.isTTY || resume ? WatchCursorFile.open(dataDir, sessionId) : null;
}

/** Where the last watch was interrupted, if that run is still there: a session may have been deleted and made again. */
async function storedPlace(
  { client }: ApiAccess,
  { sessionId, stored }: { sessionId: string; stored: RunPlace },
  output: Output,
): Promise<WatchPlace | null> {
  try {
    const run = await client.call(routes.getRun, { params: { runId: stored.runId } });
    if (run.sessionId === sessionId) {
      const place = run.sessionTurn === null ? stored : { turn: run.sessionTurn, seq: stored.seq };
      const name = 'turn' in place ? cursorText(place) : `${place.runId}:${place.seq}`;
      output.remark(`going on after ${name} (--from-start shows the whole turn)`);
      return place;
    }
  } catch (error) {
    if (!isRefused(error, 'not-found')) throw error;
  }
  fromBeginning(stored, output);
  return null;
}

const isRefused = (error: unknown, failureKind: string) =>
  error instanceof ApiError && error.failureKind === failureKind;

const fromBeginning = ({ runId, seq }: RunPlace, output: Output) =>
  output.remark(
    `what was watched last, ${runId}:${seq}, is not there any more: from the beginning of the turn`,
  );

/**
 * Shows a session until its last turn has ended. With `file` it notes what was shown, and at the end removes it again. Exit code 0 only when the last turn
 * completed.
 *
 * @throws ReaderGone; what `watchSession` throws.
 */
export async function showSession(
  { client }: ApiAccess,
  watched: {
    readonly sessionId: string;
    readonly from: WatchPlace | null;
    readonly follow: boolean;
    readonly file: WatchCursorFile | null;
  },
  output: Output,
): Promise<number> {
  const { file, sessionId } = watched;
  const screen = new WatchScreen(output, sessionId);
  let last: WatchFrame | undefined;
  let lastEvent: RunEvent | undefined;
  try {
    const { result: end, stoppedBy } = await untilStopped((signal) =>
      watchSession({
        client,
        ...watched,
        signal,
        paceMs,
        onFrames: (frames) => {
          showNoted(frames, screen, file);
          last = frames.at(-1);
          for (const frame of frames) if (frame.frame === 'event') lastEvent = frame.data;
        },
        onState: tellWaiting(output),
      }),
    );
    if (stoppedBy !== null) {
      screen.settle();
      const inTurn = lastEvent !== undefined && lastEvent.type !== 'terminal_status';
      output.remark(`the ${inTurn ? 'turn' : 'session'} goes on: agentrun watch ${sessionId}`);
      return stopCodes[stoppedBy];
    }
    file?.remove();
    await showEnd(end, screen);
    if (end.status === null && last?.frame !== 'stream-end')
      output.remark(`session ${sessionId} has no turn yet: agentrun send ${sessionId} "…"`);
    return end.status === 'completed' ? exitCodes.ok : exitCodes.failed;
  } finally {
    screen.close();
  }

  /** What of the last turn's end was not shown. */
  async function showEnd({ unshown }: WatchEnd, { endedWithoutTotals }: WatchScreen): Promise<void> {
    if (output.json) return;
    if (unshown !== null && unshown.terminalStatus !== null) {
      const { terminalStatus, failureKind, failureMessage: message } = unshown;
      const totals = await totalsOfRun(client, unshown.id, unshown);
      output.line(
        `${endLine({ terminalStatus, failureKind, message })}${totals === '' ? '' : `, ${totals}`}`,
      );
    }
    if (endedWithoutTotals !== null) {
      const totals = await totalsOfRun(client, endedWithoutTotals);
      if (totals !== '') output.line(`  ${totals}`);
    }
  }
}

/** Notes where the watcher is right before it is shown (cli/watch-cursor-file.ts). */
function showNoted(frames: readonly WatchFrame[], screen: WatchScreen, file: WatchCursorFile | null): void {
  const places = frames.flatMap((frame) => (frame.frame === 'event' ? [frame.data] : []));
  const [first, last] = [places.at(0), places.at(-1)];
  if (last !== undefined) file?.write(last);
  try {
    screen.show(frames);
  } catch (error) {
    // Nobody has read it.
    if (error instanceof ReaderGone && first !== undefined)
      file?.write({ runId: first.runId, seq: first.seq - 1 });
    throw error;
  }
}
