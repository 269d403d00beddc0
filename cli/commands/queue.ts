import type { Command } from 'commander';
import { quickRetry, RawBody } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput } from '../output.js';
import { workspaceFolder } from '../workspace-folder.js';
import type { Run } from './run-command.js';

const addOptions = {
  prompt: '<text>',
  queue: '--queue',
  title: '--title',
  tenantId: '--tenant',
  projectId: '--project',
  backendProfile: '--backend',
  'sessionRef.sessionId': '--session',
  'workspace.path': '--workspace',
};

/** Adds `queue add` and `queue dispatch`. */
export function addQueueCommands(program: Command, run: Run): void {
  const queue = program.command('queue').description('queue tasks: work that is handed out to sessions');
  queue
    .command('add')
    .description('put a task into a queue; it waits for its dispatch')
    .argument('<text...>', 'what the agent is to do')
    .option('--queue <name>', 'queue', 'default')
    .option('--title <title>')
    .option('--tenant <tenantId>', 'tenant', 'local')
    .option('--project <projectId>', 'project', 'default')
    .option('--backend <profile>', 'codex or command', 'codex')
    .option('--session <sessionId>', 'run it in this session; default: one of its own')
    .option('--workspace <folder>', 'copy this folder into the workspace of a new session')
    .action((words: string[], options: Record<string, string | undefined>, command: Command) =>
      run(
        command,
        async () => {
          const output = createOutput(command.optsWithGlobals().json === true);
          const { title, session, workspace } = options;
          const task = await findApi(output).client.call(routes.createQueueTask, {
            body: RawBody.json({
              prompt: words.join(' '),
              queue: options.queue,
              tenantId: options.tenant,
              projectId: options.project,
              backendProfile: options.backend,
              ...(title === undefined ? {} : { title }),
              ...(session === undefined ? {} : { sessionRef: { sessionId: session } }),
              ...(workspace === undefined ? {} : { workspace: { path: workspaceFolder(workspace) } }),
            }),
          });
          output.data(task);
          output.remark(`${task.state}, session ${task.sessionRef.sessionId}`);
          output.line(task.id);
          return exitCodes.ok;
        },
        { optionNames: addOptions },
      ),
    );
  queue
    .command('dispatch')
    .description('hand a task to its session now')
    .argument('<taskId>')
    .action((taskId: string, _options: unknown, command: Command) =>
      run(
        command,
        async () => {
          const output = createOutput(command.optsWithGlobals().json === true);
          const task = await findApi(output).client.call(
            routes.dispatchQueueTask,
            { params: { taskId }, body: {} },
            { retry: quickRetry },
          );
          output.data(task);
          output.line(
            `${task.state} ${task.latestAttempt?.runId ?? ''} session ${task.sessionRef.sessionId}`,
          );
          return exitCodes.ok;
        },
        { optionNames: { taskId: '<taskId>' } },
      ),
    );
}
