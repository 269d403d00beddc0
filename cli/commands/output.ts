import { stripVTControlCharacters } from 'node:util';
import type { Command } from 'commander';
import type { JsonObject, JsonValue } from '../../contract/json.js';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { endLine, marker } from '../event-lines.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput, type Output } from '../output.js';
import { escapeText } from '../terminal-text.js';
import { totalsOfRun } from '../turn-totals.js';
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
  // Without remarks: who asks for what is there is told once that it cannot be read.
  const { client } = findApi();
  let error: JsonValue | undefined;
  for (let runId = run, afterSeq = 0; ; ) {
    const page = await client.call(routes.getSessionOutput, {
      params: { sessionId },
      query: { runId, afterSeq, limit: pageLimit },
    });
    output.data(...page.items);
    if (page.gap != null)
      output.line(marker(`events ${page.gap.from} to ${page.gap.to} are not kept any more`));
    const last = page.items.at(-1);
    const totals =
      last?.type === 'terminal_status' && !output.json ? await totalsOfRun(client, last.runId) : '';
    const texts = page.items.map(({ type, payload, text }) => {
      if (type === 'error') error = payload.message;
      return type === 'terminal_status' ? endText(payload, error, totals) : escapeText(text);
    });
    output.line(...texts);
    if (last === undefined && afterSeq === 0) output.remark('there is nothing yet');
    if (last === undefined || !page.hasMore) return exitCodes.ok;
    // A turn that begins meanwhile is another one.
    runId = last.runId;
    afterSeq = last.seq;
  }
}

/** The end of the turn with what it took; an error that stands above is not repeated. */
function endText(payload: JsonObject, error: JsonValue | undefined, totals: string): string {
  const end = stripVTControlCharacters(
    endLine(payload.message === error ? { ...payload, message: null } : payload),
  );
  return totals === '' ? end : `${end}, ${totals}`;
}
