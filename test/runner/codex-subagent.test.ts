import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DriverRig } from './support/driver-rig.js';

const outside = '/var/tmp/agentrun-subagent-test.txt';
const patch = `apply_patch <<'EOP'\n*** Begin Patch\n*** Add File: ${outside}\n+hello\n*** End Patch\nEOP`;
const call = (name: string, args: object, namespace?: string) => ({
  type: 'function_call',
  id: `fc_${name}`,
  call_id: `call_${name}`,
  name,
  ...(namespace === undefined ? {} : { namespace }),
  arguments: JSON.stringify(args),
  status: 'completed',
});
const said = (text: string) => ({
  type: 'message',
  id: 'msg_1',
  role: 'assistant',
  status: 'completed',
  content: [{ type: 'output_text', text, annotations: [] }],
});

/** What the model says next: to the main agent, which spawns another and waits for it, or to the other, which patches a file. */
function next(body: string): object {
  const done = (name: string) => body.includes(`"call_${name}"`);
  if (!body.includes('MAIN-PROMPT'))
    return done('exec_command') ? said('patched') : call('exec_command', { cmd: patch });
  if (!done('spawn_agent')) return call('spawn_agent', { message: 'OTHER-PROMPT' }, 'multi_agent_v1');
  const agentId = /agent_id\W+([0-9a-f-]{36})/.exec(body)?.[1];
  if (!done('wait_agent')) return call('wait_agent', { targets: [agentId] }, 'multi_agent_v1');
  return said('end');
}

let rig: DriverRig;
const upstream = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => {
    body += chunk.toString('utf8');
  });
  request.on('end', () => {
    const item = next(body);
    const answer = { id: 'resp', object: 'response', status: 'completed', output: [item] };
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const frame of [
      { type: 'response.created', response: { ...answer, status: 'in_progress', output: [] } },
      { type: 'response.output_item.done', output_index: 0, item },
      { type: 'response.completed', response: { ...answer, usage: null } },
    ])
      response.write(`event: ${frame.type}\ndata: ${JSON.stringify(frame)}\n\n`);
    response.end();
  });
});

beforeEach(async () => {
  rmSync(outside, { force: true });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const address = upstream.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  rig = await DriverRig.open('codex', { upstreamUrl: `http://127.0.0.1:${port}/v1` });
});
afterEach(async () => {
  await rig.close();
  upstream.closeAllConnections();
  upstream.close();
  rmSync(outside, { force: true });
});

test("a subagent of a real Codex: its patch is shown whole, and is no part of the main agent's transcript", {
  timeout: 40_000,
}, async () => {
  const driver = await rig.driver();
  await driver.openThread({ threadId: null, approvalPolicy: 'on-request', readHistory: false });
  await driver.prompt('cmd_one', { prompt: 'MAIN-PROMPT' });
  const request = await rig.request();
  expect(request).toMatchObject({
    kind: 'file-change',
    summary: `change files: add ${outside}`,
    details: `add ${outside}\nhello\n`,
  });
  expect(existsSync(outside)).toBe(false);
  await driver.answer(request.requestId, { resolution: 'approved', forSession: false });
  expect(await rig.turnEnd()).toMatchObject({ status: 'completed' });
  expect(readFileSync(outside, 'utf8')).toBe('hello\n');
  expect(rig.events.filter((event) => event.type === 'file_change')).toEqual([]);
});
