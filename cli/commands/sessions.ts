import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { quickRetry, RawBody } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { parseLabels } from '../label-options.js';
import { createOutput, type Output } from '../output.js';
import { workspaceFolder } from '../workspace-folder.js';
import type { Run } from './run-command.js';
import { addSessionLifeCommands } from './session-life.js';
import { cursorFile, showSession } from './watch.js';

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

/** Adds `session` with its commands, and `send`. */
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
  const from = { runId: answer.run.id, seq: 0 };
  const file = cursorFile(access, sessionId);
  return showSession(access, { sessionId, from, follow: false, file }, output);
}
