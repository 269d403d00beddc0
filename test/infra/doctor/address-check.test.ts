import { createServer } from 'node:http';
import { afterAll, expect, test } from 'vitest';
import { addressCheck } from '../../../infra/doctor/address-check.js';
import { serverPort } from '../../support/server-port.js';

let sentBytes = 0;
const endless = createServer((_request, response) => {
  const chunk = 'x'.repeat(65_536);
  const more = () => {
    while (!response.destroyed) {
      sentBytes += chunk.length;
      if (!response.write(chunk)) return;
    }
  };
  response.on('drain', more);
  more();
});
const port = await serverPort(endless);
afterAll(() => endless.close());

test('an answer without an end is read up to its bound', async () => {
  const url = `http://127.0.0.1:${port}`;
  const base = { url, variable: 'AGENTRUN_MGR_URL' };
  const check = addressCheck({ name: 'x', base, installationId: () => Promise.resolve('x') });
  const result = await check.look(AbortSignal.timeout(10_000));
  expect(result).toMatchObject({
    ok: false,
    message: expect.stringContaining('is not the AgentRun API') as unknown,
  });
  // What fits into the buffers of the connection.
  expect(sentBytes).toBeLessThan(32_000_000);
});
