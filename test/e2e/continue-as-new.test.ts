import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ApiError } from '../../client/index.js';
import { mainTaskQueue, sessionWorkflowId } from '../../domain/workflow-ids.js';
import { type SessionInput, workflowTypes } from '../../workflows/messages.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { atHold, release, timesInLastRequest } from '../support/scripted-control.js';

const maxUpdates = 5;

let local: LocalStack;
let connection: Connection;
let client: Client;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
  connection = await Connection.connect({ address: local.stack.temporalAddress });
  client = new Client({ connection });
});
afterAll(async () => {
  await connection?.close();
  await local?.stop();
});

it('a session that continues as new while its turn runs keeps the turn, its steers and its idempotency keys', async () => {
  const sessionId = await createSession(local);
  const input: SessionInput = { sessionId, tenantId: 'test', projectId: 'test', maxUpdates };
  const first = await client.workflow.start(workflowTypes.session, {
    workflowId: sessionWorkflowId(sessionId),
    taskQueue: mainTaskQueue,
    args: [input],
  });
  const key = { idempotencyKey: 'the-first-message' };
  const prompt = 'PROMPT-first-END [[scenario:hold name=continued]]';
  const { run, command } = await send(local, sessionId, prompt, key);
  await atHold(local, 'continued');
  const steers = Array.from({ length: 2 * maxUpdates }, (_, index) => `STEER-${index}-END`);
  for (const steer of steers) {
    const sent = await send(local, sessionId, steer);
    expect(sent).toMatchObject({ decision: 'steer', run: { id: run.id } });
  }
  await eventually('the workflow has continued as new', async () => {
    const { runId } = await client.workflow.getHandle(sessionWorkflowId(sessionId)).describe();
    return runId === first.firstExecutionRunId ? undefined : true;
  });

  const again = await send(local, sessionId, prompt, key);
  expect(again).toMatchObject({ decision: 'turn', run: { id: run.id }, command: { id: command.id } });
  const other = await send(local, sessionId, 'something else', key).catch((error: unknown) => error);
  expect(other).toBeInstanceOf(ApiError);
  expect(other).toMatchObject({ status: 409, failureKind: 'conflict' });

  await release(local, 'continued');
  expect((await eventsToEnd(local, sessionId, run.id)).status).toBe('completed');
  const { threadId, attempt } = await getRun(local, run.id);
  expect(attempt).toBe(1);
  const times = await timesInLastRequest(local, threadId ?? '', ['PROMPT-first-END', ...steers]);
  expect(Object.values(times)).toEqual(Array.from({ length: steers.length + 1 }, () => 1));
}, 120_000);
