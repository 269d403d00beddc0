import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  createSession,
  eventsToEnd,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { serverPort } from '../support/server-port.js';

let local: LocalStack;
let otherService: Server;
let url: string;
beforeAll(async () => {
  otherService = createServer((_request, response) => {
    response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>not here</h1>');
  });
  url = `http://127.0.0.1:${await serverPort(otherService)}`;
  local = await startLocalStack(() => undefined, undefined, {
    variables: { AGENTRUN_INTERNAL_MGR_URL: url },
  });
});
afterAll(async () => {
  await local?.stop();
  otherService?.closeAllConnections();
  await new Promise((resolve) => otherService.close(resolve));
});

it('runners that are sent to another service end their run, which names the address and the variable', async () => {
  const sessionId = await createSession(local);
  const { run } = await send(local, sessionId, 'never sent');
  const { status } = await eventsToEnd(local, sessionId, run.id);
  expect(status).toBe('failed');
  const { failureKind, failureMessage, attempt } = await getRun(local, run.id);
  expect({ failureKind, attempt }).toEqual({ failureKind: 'prerequisite-failed', attempt: 1 });
  expect(failureMessage).toContain(url);
  expect(failureMessage).toContain('AGENTRUN_INTERNAL_MGR_URL');
});
