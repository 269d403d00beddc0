import type { Command } from 'commander';
import { z } from 'zod';
import { quickRetry } from '../../client/index.js';
import { cancelObservationSchema } from '../../contract/runs.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { createOutput, type Output } from '../output.js';
import type { Run } from './run-command.js';

const answerSchema = z.looseObject({ cancel: cancelObservationSchema, state: z.string().optional() });

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
        sessionId: id,
        optionNames,
      }),
    );
}

async function cancel(id: string, options: CancelOptions, output: Output): Promise<number> {
  const waitMs = milliseconds('--wait', options.wait);
  const { path, isControl } = routeOf(id);
  const body = {
    ...(isControl ? { action: 'cancel' } : {}),
    ...(options.reason === undefined ? {} : { reason: options.reason }),
    ...(options.deadline === undefined ? {} : { deadlineMs: milliseconds('--deadline', options.deadline) }),
    waitMs,
  };
  const answer = await findApi(output).client.request(answerSchema, 'POST', ['api', 'v1', ...path], {
    body,
    timeoutMs: waitMs + answerTimeMs,
    // A repeat meets the request that is stored, or the end.
    retry: quickRetry,
  });
  output.data(answer);
  const { requested, observed, runStatus } = answer.cancel;
  if (!requested) output.remark('it had ended already');
  output.line(...observed, runStatus === null ? (answer.state ?? 'cancelled') : `turn ${runStatus}`);
  return exitCodes.ok;
}

function routeOf(id: string): { path: string[]; isControl: boolean } {
  if (id.startsWith('run_')) return { path: ['runs', id, 'cancel'], isControl: false };
  if (id.startsWith('cmd_')) return { path: ['commands', id, 'cancel'], isControl: false };
  if (id.startsWith('task_')) return { path: ['queue', 'tasks', id, 'cancel'], isControl: false };
  return { path: ['sessions', id, 'control'], isControl: true };
}

function milliseconds(option: string, text: string): number {
  const seconds = Number(text);
  if (text.trim() === '' || !Number.isFinite(seconds) || seconds < 0)
    throw new UsageError(`${option}: expected seconds, received ${JSON.stringify(text)}`);
  return Math.round(seconds * 1_000);
}
