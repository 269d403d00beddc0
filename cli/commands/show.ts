import type { Command } from 'commander';
import type { ApiClient } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput } from '../output.js';
import { runLines, sessionLines, taskLines } from '../show-lines.js';
import type { Run } from './run-command.js';

/** Adds `show`: any record by its id. */
export function addShowCommand(program: Command, run: Run): void {
  program
    .command('show')
    .description('show a session, a run with its result, or a queue task in short; --json has all of it')
    .argument('<id>', 'session id, run_… or task_…')
    .action((id: string, _options: unknown, command: Command) =>
      run(
        command,
        async () => {
          const output = createOutput(command.optsWithGlobals().json === true);
          const { record, lines } = await shown(findApi(output).client, id);
          output.data(record);
          output.line(...lines);
          return exitCodes.ok;
        },
        { optionNames: { sessionId: '<id>', runId: '<id>', taskId: '<id>' } },
      ),
    );
}

/** The whole record for a program, and a summary of it for a person. */
async function shown(client: ApiClient, id: string): Promise<{ record: object; lines: string[] }> {
  if (id.startsWith('run_')) {
    const params = { runId: id };
    const run = await client.call(routes.getRun, { params });
    const result = await client.call(routes.getRunResult, { params });
    return { record: { ...run, result }, lines: runLines(run, result) };
  }
  if (id.startsWith('task_')) {
    const task = await client.call(routes.getQueueTask, { params: { taskId: id } });
    return { record: task, lines: taskLines(task) };
  }
  const session = await client.call(routes.getSession, { params: { sessionId: id } });
  return { record: session, lines: sessionLines(session) };
}
