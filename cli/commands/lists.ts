import type { Command } from 'commander';
import type { Page } from '../../contract/queries.js';
import { routes } from '../../contract/routes/index.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput, type Output } from '../output.js';
import { oneLine } from '../terminal-text.js';
import type { Run } from './run-command.js';

interface ListOptions {
  readonly limit: string;
  readonly cursor?: string;
  readonly labels?: string;
  readonly state?: string;
  readonly status?: string;
  readonly session?: string;
}

const optionNames = {
  'query.limit': '--limit',
  'query.cursor': '--cursor',
  'query.labels': '--labels',
  'query.state': '--state',
  'query.status': '--status',
  'query.sessionId': '--session',
};

/** Adds `session list`, `run list` and `runner list`. `session` and its `create` are there already. */
export function addListCommands(program: Command, run: Run): void {
  const list = (
    parent: Command,
    description: string,
    show: (options: ListOptions, output: Output) => Promise<void>,
  ): Command =>
    parent
      .command('list')
      .description(description)
      .option('--limit <count>', 'how many at most, up to 500', '50')
      .option('--cursor <cursor>', 'where to go on: what the list before named as its next cursor')
      .action((options: ListOptions, command: Command) =>
        run(
          command,
          async () => {
            await show(options, createOutput(command.optsWithGlobals().json === true));
            return exitCodes.ok;
          },
          { optionNames },
        ),
      );

  list(groupOf(program, 'session'), 'sessions, the newest first', async (options, output) => {
    const { limit, cursor, labels, state } = options;
    const query = { limit, cursor, labels, state };
    printPage(output, await findApi(output).client.call(routes.listSessions, { query }), [
      ['SESSION', (session) => session.sessionId],
      ['STATE', (session) => (session.archivedAt === null ? session.executionState : 'archived')],
      ['ATTENTION', (session) => session.attentionState],
      ['TURNS', (session) => String(session.turns)],
      ['TENANT', (session) => session.tenantId],
      ['PROJECT', (session) => session.projectId],
      ['BACKEND', (session) => session.backendProfile],
      ['LAST ACTIVITY', (session) => session.lastActivityAt ?? '-'],
    ]);
  })
    .option('--state <state>', 'idle, starting, running, waiting, evicted or archived')
    .option('--labels <labels>', 'key=value or key, divided by commas; all must hold');

  list(
    program.command('run').description('runs: one turn each'),
    'runs, the newest first',
    async (options, output) => {
      const { limit, cursor, labels, status, session } = options;
      const query = { limit, cursor, labels, status, sessionId: session };
      printPage(output, await findApi(output).client.call(routes.listRuns, { query }), [
        ['RUN', (one) => one.id],
        ['STATUS', (one) => one.status],
        ['ATTEMPT', (one) => String(one.attempt)],
        ['SESSION', (one) => one.sessionId],
        ['CREATED', (one) => one.createdAt],
        ['FINISHED', (one) => one.finishedAt ?? '-'],
      ]);
    },
  )
    .option('--status <status>', 'pending, claimed, running, completed, failed, blocked or cancelled')
    .option('--session <sessionId>', 'those of one session')
    .option('--labels <labels>', 'key=value or key, divided by commas; all must hold');

  list(
    program.command('runner').description('runners: the jobs and local processes that serve runs'),
    'runners, the newest first',
    async (options, output) => {
      const { limit, cursor, state, session } = options;
      const query = { limit, cursor, state, sessionId: session };
      printPage(output, await findApi(output).client.call(routes.listRunners, { query }), [
        ['RUNNER', (runner) => runner.jobName],
        ['STATE', (runner) => runner.state],
        ['SESSION', (runner) => runner.sessionId],
        ['RUN', (runner) => runner.runId ?? '-'],
        ['HEARTBEAT', (runner) => runner.heartbeatAt ?? '-'],
        ['CREATED', (runner) => runner.createdAt],
      ]);
    },
  )
    .option('--state <state>', 'launching, serving, idle, closing or gone')
    .option('--session <sessionId>', 'those of one session');
}

function groupOf(program: Command, name: string): Command {
  return program.commands.find((command) => command.name() === name) ?? program.command(name);
}

type Column<Item> = readonly [title: string, cell: (item: Item) => string];

/** A table for people; with --json the items, one on each line. Where the list goes on is a remark. */
export function printPage<Item>(output: Output, page: Page<Item>, columns: readonly Column<Item>[]): void {
  output.data(...page.items);
  output.line(...tableLines(page.items, columns));
  if (page.nextCursor !== null) output.remark(`there are more: --cursor ${page.nextCursor}`);
}

/** Lines of a table whose columns are as wide as their widest cell. */
export function tableLines<Item>(items: readonly Item[], columns: readonly Column<Item>[]): string[] {
  const rows = [
    columns.map(([title]) => title),
    ...items.map((item) => columns.map(([, cell]) => oneLine(cell(item)))),
  ];
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
