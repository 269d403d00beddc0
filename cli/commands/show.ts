import type { Command } from 'commander';
import { z } from 'zod';
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
          const record = await client.request(z.looseObject({}), 'GET', ['api', 'v1', ...routeOf(id)]);
          const shown = id.startsWith('run_')
            ? {
                ...record,
                result: await client.request(z.looseObject({}), 'GET', ['api', 'v1', 'runs', id, 'result']),
              }
            : record;
          output.data(shown);
          output.line(JSON.stringify(shown, null, 2));
          return exitCodes.ok;
        },
        { sessionId: id, optionNames: { sessionId: '<id>', runId: '<id>', taskId: '<id>' } },
      ),
    );
}

function routeOf(id: string): string[] {
  if (id.startsWith('run_')) return ['runs', id];
  if (id.startsWith('task_')) return ['queue', 'tasks', id];
  return ['sessions', id];
}
