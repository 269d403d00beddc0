import type { Command } from 'commander';
import type { z } from 'zod';
import { type ApiClient, type CallOptions, ConnectionError, quickRetry } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import type { cancelSchema } from '../../contract/runs.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { createOutput, type Output } from '../output.js';
import type { Run } from './run-command.js';

const optionNames = {
  sessionId: '<id>',
  runId: '<id>',
  taskId: '<id>',
  commandId: '<id>',
  reason: '--reason',
  deadlineMs: '--deadline',
  waitMs: '--wait',
};

/** The API waits this long at most. */
const longestWaitSeconds = 25;
/** Beyond the wait: the answer itself. */
const answerTimeMs = 10_000;

interface CancelOptions {
  readonly reason?: string;
  readonly deadline?: string;
  readonly wait: string;
}

/** Adds `cancel`: of a session's turn, a run, a command or a queue task. */
export function addCancelCommand(program: Command, run: Run): void {
  program
    .command('cancel')
    .description('end a turn: interrupt it, then step by step whatever does not end by itself')
    .argument('<id>', 'session id, run_…, cmd_… or task_…')
    .option('--reason <text>', 'why, for the record')
    .option('--deadline <seconds>', 'delete the runner when the turn has not ended by then; default: 15')
    .option('--wait <seconds>', `wait for the end, up to ${longestWaitSeconds}`, '20')
    .action((id: string, options: CancelOptions, command: Command) =>
      run(command, () => cancel(id, options, createOutput(command.optsWithGlobals().json === true)), {
        optionNames,
      }),
    );
}

async function cancel(id: string, options: CancelOptions, output: Output): Promise<number> {
  const waitMs = milliseconds('--wait', options.wait);
  const body = {
    ...(options.reason === undefined ? {} : { reason: options.reason }),
    ...(options.deadline === undefined ? {} : { deadlineMs: milliseconds('--deadline', options.deadline) }),
    waitMs,
  };
  const answer = await requestCancel(findApi(output).client, id, body, {
    timeoutMs: waitMs + answerTimeMs,
    // A repeat meets the request that is stored, or the end.
    retry: quickRetry,
  });
  output.data(answer);
  const { requested, observed, runStatus } = answer.cancel;
  const state = 'state' in answer ? answer.state : 'cancelled';
  if (!requested) output.remark('it had ended already');
  output.line(...observed, runStatus === null ? state : `turn ${runStatus}`);
  return exitCodes.ok;
}

async function requestCancel(
  client: ApiClient,
  id: string,
  body: z.input<typeof cancelSchema>,
  options: CallOptions,
) {
  if (id.startsWith('run_')) return client.call(routes.cancelRun, { params: { runId: id }, body }, options);
  if (id.startsWith('cmd_'))
    return client.call(routes.cancelCommand, { params: { commandId: id }, body }, options);
  if (id.startsWith('task_'))
    return client.call(routes.cancelQueueTask, { params: { taskId: id }, body }, options);
  const control = { params: { sessionId: id }, body: { action: 'cancel' as const, ...body } };
  const answer = await client.call(routes.controlSession, control, options);
  if ('cancel' in answer) return answer;
  throw new ConnectionError('invalid-answer', 'the API answered a mark of a reader to a cancel');
}

function milliseconds(option: string, text: string): number {
  const seconds = Number(text);
  if (text.trim() === '' || !Number.isFinite(seconds) || seconds < 0)
    throw new UsageError(`${option}: expected seconds, received ${JSON.stringify(text)}`);
  return Math.round(seconds * 1_000);
}
