import { z } from 'zod';
import { commandRecordSchema, createCommandSchema, outcomeSchema } from '../commands.js';
import { commandIdSchema } from '../ids.js';
import { integerQuery, limitQuery, queryOf, waitMsQuery } from '../queries.js';
import { routeContract } from '../route-contract.js';
import { commandPageSchema } from '../runners.js';
import { cancelObservationSchema, cancelSchema, runResultSchema } from '../runs.js';
import { runParams } from './runs.js';

const tag = 'commands';
const commandParams = z.object({ commandId: commandIdSchema });
const runCommandParams = runParams.extend(commandParams.shape);

/** Commands under a run, and the routes of a command (contract.md 5.6, 6). */
export const commandRoutes = {
  createCommand: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/commands',
    tag,
    summary:
      'A turn begins this run, or is the next of its session; a steer goes to this run, and once it has ended by itself is the next turn. Look at the `runId` and `type` of the answer.',
    auth: { api: 'operate' },
    params: runParams,
    body: createCommandSchema,
    data: commandRecordSchema,
    idempotency: 'key',
    failures: ['conflict', 'session-store-evicted'],
  }),
  listCommands: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/commands',
    tag,
    summary:
      'Commands after `afterSeq`; with `waitMs` a long poll that a cancel or the end of steering ends too.',
    auth: { api: 'read', run: true },
    params: runParams,
    query: z.object({
      afterSeq: integerQuery({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }),
      limit: limitQuery(20),
      waitMs: waitMsQuery,
      // What a runner believes; the poll ends when it is not so.
      watched: queryOf(z.enum(['true', 'false'])),
    }),
    data: commandPageSchema,
    failures: ['fenced'],
  }),
  getCommand: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/commands/:commandId',
    tag,
    summary: 'A command; with a run token as it stands for the runner that holds the run.',
    auth: { api: 'read', run: true },
    params: runCommandParams,
    data: commandRecordSchema,
    failures: ['fenced'],
  }),
  getCommandResult: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/commands/:commandId/result',
    tag,
    summary: 'The result of the run of this command.',
    auth: { api: 'read' },
    params: runCommandParams,
    data: runResultSchema,
  }),
  acknowledgeCommand: routeContract({
    method: 'post',
    path: '/api/v1/commands/:commandId/ack',
    tag,
    summary: 'The driver took the command; a repeat answers the same.',
    auth: { api: 'operate', run: true },
    params: commandParams,
    data: commandRecordSchema,
    failures: ['fenced', 'conflict'],
  }),
  finishCommand: routeContract({
    method: 'patch',
    path: '/api/v1/commands/:commandId/status',
    tag,
    summary: 'How a command ended, said by its runner.',
    auth: { api: 'operate', run: true },
    params: commandParams,
    body: outcomeSchema,
    data: commandRecordSchema,
    failures: ['fenced', 'conflict'],
  }),
  cancelCommand: routeContract({
    method: 'post',
    path: '/api/v1/commands/:commandId/cancel',
    tag,
    summary:
      'Withdraws a steer that no runner has acknowledged (`withdrawal: unless-sent`: one may be about to send it); of a prompt, asks for the end of its run.',
    auth: { api: 'operate' },
    params: commandParams,
    body: cancelSchema,
    data: commandRecordSchema.extend({
      cancel: cancelObservationSchema,
      withdrawal: z.enum(['certain', 'unless-sent']).nullable(),
    }),
    failures: ['conflict'],
  }),
};
