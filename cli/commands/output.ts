import type { Command } from 'commander';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { marker } from '../event-lines.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput, type Output } from '../output.js';
import { escapeText } from '../terminal-text.js';
import type { Run } from './run-command.js';

const outputOptions = { sessionId: '<sessionId>', 'query.runId': '--run' };
const pageLimit = 500;

/** Adds `output`: the transcript of a turn as plain text. */
export function addOutputCommand(program: Command, run: Run): void {
  program
    .command('output')
    .description('print the transcript of the active or last turn of a session up to now, as plain text')
    .argument('<sessionId>')
    .option('--run <runId>', 'of this run')
    .action((sessionId: string, options: { run?: string }, command: Command) =>
      run(
        command,
        () => print(sessionId, options.run, createOutput(command.optsWithGlobals().json === true)),
        { optionNames: outputOptions },
      ),
    );
}

async function print(sessionId: string, run: string | undefined, output: Output): Promise<number> {
  const { client } = findApi(output);
  for (let runId = run, afterSeq = 0; ; ) {
    const page = await client.call(routes.getSessionOutput, {
      params: { sessionId },
      query: { runId, afterSeq, limit: pageLimit },
    });
    output.data(...page.items);
    if (page.gap != null)
      output.line(marker(`events ${page.gap.from} to ${page.gap.to} are not kept any more`));
    output.line(...page.items.map((item) => escapeText(item.text)));
    const last = page.items.at(-1);
    if (last === undefined && afterSeq === 0) output.remark('there is nothing yet');
    if (last === undefined || !page.hasMore) return exitCodes.ok;
    // A turn that begins meanwhile is another one.
    runId = last.runId;
    afterSeq = last.seq;
  }
}
