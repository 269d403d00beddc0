import type { Command } from 'commander';
import type { ApiClient } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput } from '../output.js';
import type { Run } from './run-command.js';

/** Adds `show`: any record by its id. */
export function addShowCommand(program: Command, run: Run): void {
  program
    .command('show')
    .description('show a session, a run with its result, or a queue task')
    .argument('<id>', 'session id, run_… or task_…')
    .action((id: string, _options: unknown, command: Command) =>
      run(
        command,
        async () => {
          const output = createOutput(command.optsWithGlobals().json === true);
          const { client } = findApi(output);
          const shown = await recordOf(client, id);
          output.data(shown);
          output.line(JSON.stringify(shown, null, 2));
          return exitCodes.ok;
        },
        { sessionId: id, optionNames: { sessionId: '<id>', runId: '<id>', taskId: '<id>' } },
      ),
    );
}

async function recordOf(client: ApiClient, id: string): Promise<object> {
  if (id.startsWith('run_')) {
    const params = { runId: id };
    const run = await client.call(routes.getRun, { params });
    return { ...run, result: await client.call(routes.getRunResult, { params }) };
  }
  if (id.startsWith('task_')) return client.call(routes.getQueueTask, { params: { taskId: id } });
  return client.call(routes.getSession, { params: { sessionId: id } });
}
