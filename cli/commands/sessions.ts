import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { ApiError, quickRetry, RawBody } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import type { ApiAccess } from '../api-access.js';
import { findApi } from '../api-access.js';
import { eventLines } from '../event-lines.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { parseLabels } from '../label-options.js';
import { createOutput, type Output } from '../output.js';
import { parseCursor, WatchCursorFile } from '../watch-cursor-file.js';
import { type WatchCursor, watchSession } from '../watch-session.js';
import { workspaceFolder } from '../workspace-folder.js';
import type { Run } from './run-command.js';
import { addSessionLifeCommands } from './session-life.js';

const createOptions = {
  sessionId: '--id',
  tenantId: '--tenant',
  projectId: '--project',
  backendProfile: '--backend',
  'workspace.path': '--workspace',
  'workspace.repository': '--repository',
  'workspace.ref': '--ref',
  'executionPolicy.approvalPolicy': '--approvals',
  labels: '--label',
};
const sendOptions = {
  sessionId: '<sessionId>',
  prompt: '<text>',
  whenBusy: '--when-busy',
  idempotencyKey: '--key',
  deadlineAt: '--deadline-at',
};
const watchOptions = { sessionId: '<sessionId>', 'query.runId': '--after', 'query.afterSeq': '--after' };

/** Adds `session` with its commands, `send` and `watch`. */
export function addSessionCommands(program: Command, run: Run): void {
  const session = program
    .command('session')
    .description('sessions: a conversation with one agent on one workspace');
  addSessionLifeCommands(session, run);
  session
    .command('create')
    .description('create a session (or show that it exists)')
    .option('--id <sessionId>', 'your own id; default: one is made')
    .option('--tenant <tenantId>', 'tenant', 'local')
    .option('--project <projectId>', 'project', 'default')
    .option('--backend <profile>', 'codex or command', 'codex')
    .option('--workspace <folder>', 'copy this folder into the workspace at the first turn')
    .option('--repository <url>', 'clone this repository into the workspace at the first turn')
    .option('--ref <branch>', 'branch or tag of the repository')
    .option('--approvals <policy>', 'when the agent asks a person: never (default), on-request or untrusted')
    .option('--label <key=value>', 'a label for lists to filter by; may be given again', collect, [])
    .action(({ label, ...options }: CreateOptions, command: Command) =>
      run(
        command,
        async () => {
          const output = createOutput(isJson(command));
          const labels = parseLabels(label);
          const workspace = {
            ...(options.workspace === undefined ? {} : { path: workspaceFolder(options.workspace) }),
            ...(options.repository === undefined ? {} : { repository: options.repository }),
            ...(options.ref === undefined ? {} : { ref: options.ref }),
          };
          const created = await findApi(output).client.call(routes.createSession, {
            body: RawBody.json({
              ...(options.id === undefined ? {} : { sessionId: options.id }),
              tenantId: options.tenant,
              projectId: options.project,
              backendProfile: options.backend,
              ...(Object.keys(workspace).length === 0 ? {} : { workspace }),
              ...(labels === undefined ? {} : { labels }),
              ...(options.approvals === undefined
                ? {}
                : { executionPolicy: { approvalPolicy: options.approvals } }),
            }),
          });
          output.data(created);
          output.remark(created.action);
          output.line(created.session.sessionId);
          return exitCodes.ok;
        },
        { optionNames: createOptions },
      ),
    );

  program
    .command('send')
    .description('send a message: it steers the running turn, or begins one')
    .argument('<sessionId>')
    .argument('<text...>', 'the message')
    .option('--dry-run', 'say what would happen')
    .option('--when-busy <what>', 'steer, queue, interrupt or reject', 'steer')
    .option(
      '--key <idempotencyKey>',
      'a repeat with the same key is answered, not sent again; default: a random one',
    )
    .option('--deadline-at <time>', 'end the turn that this begins at this time (ISO 8601)')
    .option('--watch', 'show the events until the turn has ended')
    .action((sessionId: string, words: string[], options: SendOptions, command: Command) =>
      run(command, () => send(sessionId, words.join(' '), options, createOutput(isJson(command))), {
        sessionToCreate: sessionId,
        optionNames: sendOptions,
      }),
    );

  program
    .command('watch')
    .description('show the events of a session live; one that was killed goes on where it was')
    .argument('<sessionId>')
    .option('--follow', 'go on when the turn has ended, and wait for the next')
    .option('--from-start', 'from the beginning of the active or last turn')
    .option('--after <cursor>', 'after this cursor (RUN:SEQ)')
    .action((sessionId: string, options: WatchCommandOptions, command: Command) =>
      run(command, () => watch(sessionId, options, createOutput(isJson(command))), {
        sessionToCreate: sessionId,
        optionNames: watchOptions,
      }),
    );
}

const isJson = (command: Command): boolean => command.optsWithGlobals().json === true;

type CreateOptions = Readonly<Record<string, string | undefined>> & { readonly label: readonly string[] };
const collect = (value: string, former: readonly string[]): string[] => [...former, value];

interface SendOptions {
  readonly dryRun?: boolean;
  readonly whenBusy: string;
  readonly key?: string;
  readonly deadlineAt?: string;
  readonly watch?: boolean;
}

async function send(sessionId: string, text: string, options: SendOptions, output: Output): Promise<number> {
  const access = findApi(output);
  const body = {
    prompt: text,
    whenBusy: options.whenBusy,
    idempotencyKey: options.key ?? `cli-${randomUUID()}`,
    ...(options.deadlineAt === undefined ? {} : { deadlineAt: options.deadlineAt }),
    ...(options.dryRun === true ? { dryRun: true } : {}),
  };
  // The key makes the repeat safe: the second answer is the first one's.
  const answer = await access.client.call(
    routes.send,
    { params: { sessionId }, body: RawBody.json(body) },
    { retry: quickRetry },
  );
  output.data(answer);
  if (answer.dryRun) {
    output.line(`${answer.decision}${answer.queued ? ' (queued)' : ''}`);
    return exitCodes.ok;
  }
  output.line(
    `${answer.decision}${answer.queued ? ' (queued)' : ''} ${answer.command.id} of ${answer.run.id}`,
  );
  if (options.watch !== true) return exitCodes.ok;
  // A later `watch` goes on where this one ends.
  const file = new WatchCursorFile(access.dataDir, sessionId);
  return follow(access, sessionId, { runId: answer.run.id, seq: 0 }, false, output, file);
}

interface WatchCommandOptions {
  readonly follow?: boolean;
  readonly fromStart?: boolean;
  readonly after?: string;
}

async function watch(sessionId: string, options: WatchCommandOptions, output: Output): Promise<number> {
  const access = findApi(output);
  const file = new WatchCursorFile(access.dataDir, sessionId);
  const given = options.after === undefined ? undefined : parseCursor(options.after);
  if (options.after !== undefined && given === undefined) {
    throw new UsageError('--after: expected RUN:SEQ, for example run_…:12');
  }
  const from = given ?? (options.fromStart === true ? null : file.read());
  if (from !== null && given === undefined) {
    output.remark(`going on after ${from.runId}:${from.seq} (--from-start shows the whole turn)`);
  }
  return follow(access, sessionId, from, options.follow === true, output, file);
}

/** Prints events until the turn has ended. Exit code 1 when the last turn seen ended otherwise than completed. */
async function follow(
  access: ApiAccess,
  sessionId: string,
  from: WatchCursor | null,
  goOn: boolean,
  output: Output,
  file: WatchCursorFile,
): Promise<number> {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    const status = await watchSession({
      client: access.client,
      sessionId,
      from,
      follow: goOn,
      signal: stop.signal,
      onEvents: (events, cursor) => {
        file.write(cursor);
        output.data(...events);
        output.line(...events.flatMap((event) => eventLines(event, sessionId)));
      },
      onWaiting: (reason) => {
        output.remark(reason === null ? 'the API is back' : `the API does not answer (${reason}); waiting`);
      },
    });
    return status === null || status === 'completed' ? exitCodes.ok : exitCodes.failed;
  } catch (error) {
    if (
      error instanceof ApiError &&
      error.failureKind === 'not-found' &&
      from !== null &&
      !error.message.startsWith('session ')
    ) {
      output.remark('the stored cursor names a run that is not there any more; --from-start begins anew');
    }
    throw error;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    await sleep(0);
  }
}
