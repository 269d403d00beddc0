import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type AgentRequestResolution, agentRequestSchema } from '../../contract/agent-requests.js';
import { approvalRequestedPayloadSchema, approvalResolvedPayloadSchema } from '../../contract/events.js';
import { askedRequest } from '../../runner/drivers/codex/codex-requests.js';
import { requestNote } from '../../runner/drivers/codex/request-notes.js';
import { DriverRig } from './support/driver-rig.js';
import { FakeCodex, fakeThreadId, fakeTurnId } from './support/fake-codex.js';

const approved: AgentRequestResolution = { resolution: 'approved', forSession: false };
const forSession: AgentRequestResolution = { resolution: 'approved', forSession: true };
const denied: AgentRequestResolution = { resolution: 'denied', text: 'not this' };
const timedOut: AgentRequestResolution = { resolution: 'timed-out' };
const noChannel: AgentRequestResolution = { resolution: 'no-channel' };
const answered = (
  text: string | null,
  answers: Record<string, string[]> | null = null,
): AgentRequestResolution => ({ resolution: 'answered', text, answers });

const where = { threadId: fakeThreadId, turnId: fakeTurnId, itemId: 'item-1', startedAtMs: 1 };
const command = { ...where, kind: 'command', command: 'make', cwd: '/w', reason: 'to build' };
const question = (id: string, options: object[] | null = null) => ({
  id,
  header: 'H',
  question: `which ${id}?`,
  isOther: false,
  isSecret: id === 'key',
  options,
});
const form = {
  threadId: 't',
  turnId: null,
  serverName: 'docs',
  mode: 'form',
  _meta: null,
  message: 'fill in',
  requestedSchema: {
    type: 'object',
    properties: {
      name: { type: 'string', title: 'Name' },
      count: { type: 'integer' },
      sure: { type: 'boolean' },
      tags: { type: 'array', items: { enum: ['a', 'b'] } },
    },
  },
};
const url = { ...form, mode: 'url', url: 'https://example.org/login', elicitationId: 'e' };
const permissions = { network: { enabled: true }, fileSystem: null };

/** Method, parameters, what the request shows, and the results for resolutions. */
const rows: [string, object, object, [AgentRequestResolution, unknown][]][] = [
  [
    'item/commandExecution/requestApproval',
    command,
    { kind: 'command', itemId: 'item-1', summary: 'make', command: 'make', cwd: '/w', reason: 'to build' },
    [
      [approved, { decision: 'accept' }],
      [forSession, { decision: 'acceptForSession' }],
      [denied, { decision: 'decline' }],
      [timedOut, { decision: 'decline' }],
      [noChannel, { decision: 'decline' }],
      [answered('no'), { decision: 'decline' }],
    ],
  ],
  [
    'item/commandExecution/requestApproval',
    { ...where, command: null, networkApprovalContext: { host: 'example.org', protocol: 'https' } },
    { kind: 'command', summary: expect.stringContaining('example.org'), command: null },
    [],
  ],
  [
    'item/fileChange/requestApproval',
    { ...where, reason: null, grantRoot: null },
    { kind: 'file-change', summary: 'change files: add /etc/hosts', command: null },
    [
      [approved, { decision: 'accept' }],
      [forSession, { decision: 'acceptForSession' }],
      [timedOut, { decision: 'decline' }],
    ],
  ],
  [
    'item/permissions/requestApproval',
    { ...where, cwd: '/w', reason: 'net', permissions },
    { kind: 'permissions', cwd: '/w', reason: 'net', summary: expect.stringContaining('network') },
    [
      [approved, { permissions: { network: { enabled: true } }, scope: 'turn' }],
      [forSession, { permissions: { network: { enabled: true } }, scope: 'session' }],
      [denied, { permissions: {}, scope: 'turn' }],
      [timedOut, { permissions: {}, scope: 'turn' }],
    ],
  ],
  [
    'item/tool/requestUserInput',
    {
      ...where,
      isBlocking: true,
      questions: [question('way', [{ label: 'A', description: 'a' }]), question('key')],
    },
    {
      kind: 'question',
      summary: 'which way? / which key?',
      questions: [
        {
          id: 'way',
          header: 'H',
          question: 'which way?',
          secret: false,
          options: [{ label: 'A', description: 'a' }],
        },
        { id: 'key', header: 'H', question: 'which key?', secret: true, options: null },
      ],
    },
    [
      [answered('both'), { answers: { way: { answers: ['both'] }, key: { answers: ['both'] } } }],
      [
        answered('rest', { way: ['A'] }),
        { answers: { way: { answers: ['A'] }, key: { answers: ['rest'] } } },
      ],
      [answered(null, { way: ['A'], other: ['x'] }), { answers: { way: { answers: ['A'] } } }],
      [timedOut, { answers: {} }],
      [denied, { answers: {} }],
    ],
  ],
  [
    'mcpServer/elicitation/request',
    form,
    {
      kind: 'elicitation',
      summary: 'docs: fill in',
      questions: [
        { id: 'name', header: 'Name', question: 'Name', options: null, secret: false },
        { id: 'count', header: 'count', question: 'fill in', options: null, secret: false },
        expect.objectContaining({
          id: 'sure',
          options: [
            { label: 'true', description: '' },
            { label: 'false', description: '' },
          ],
        }),
        expect.objectContaining({
          id: 'tags',
          options: expect.arrayContaining([{ label: 'a', description: '' }]),
        }),
      ],
    },
    [
      [
        answered(null, { name: ['n'], count: ['3'], sure: ['yes'], tags: ['a', 'b'] }),
        { action: 'accept', content: { name: 'n', count: 3, sure: true, tags: ['a', 'b'] }, _meta: null },
      ],
      [answered(null, { count: ['three'] }), { action: 'accept', content: {}, _meta: null }],
      [approved, { action: 'accept', content: {}, _meta: null }],
      [denied, { action: 'decline', content: null, _meta: null }],
      [timedOut, { action: 'cancel', content: null, _meta: null }],
    ],
  ],
  [
    'mcpServer/elicitation/request',
    url,
    { kind: 'elicitation', summary: 'docs: fill in; address: https://example.org/login', questions: [] },
    [[approved, { action: 'accept', content: null, _meta: null }]],
  ],
  [
    'execCommandApproval',
    { conversationId: 't', callId: 'c', command: ['make', 'it'], cwd: '/w', reason: null, parsedCmd: [] },
    { kind: 'command', itemId: 'c', command: 'make it', cwd: '/w' },
    [
      [approved, { decision: 'approved' }],
      [forSession, { decision: 'approved_for_session' }],
      [denied, { decision: { denied: { rejection: 'not this' } } }],
      [timedOut, { decision: 'timed_out' }],
    ],
  ],
  [
    'applyPatchApproval',
    {
      conversationId: 't',
      callId: 'c',
      fileChanges: { 'a.txt': { type: 'add', content: 'x' } },
      reason: null,
    },
    { kind: 'file-change', summary: 'change files: add a.txt', details: 'add a.txt\nx' },
    [[approved, { decision: 'approved' }]],
  ],
];

const change = { path: '/etc/hosts', kind: 'add', movedTo: null, diff: 'x' };

describe('askedRequest', () => {
  test.each(rows)('%s %#', (method, params, shown, results) => {
    const asked = askedRequest(method, params, () => [change]);
    expect(asked?.request).toMatchObject(shown);
    expect(
      agentRequestSchema.safeParse({ requestId: 'req_00000000000000000000000000', ...asked?.request })
        .success,
    ).toBe(true);
    for (const [resolution, result] of results) expect(asked?.result(resolution)).toEqual(result);
  });

  test.each([
    ['item/tool/call', {}],
    ['account/chatgptAuthTokens/refresh', {}],
    ['attestation/generate', {}],
    ['currentTime/read', {}],
    ['mcpServer/elicitation/request', { ...form, mode: 'openai/userVerification' }],
    ['item/commandExecution/requestApproval', { no: 'item' }],
    ['something/new', {}],
  ])('%s is nothing that a person can be asked', (method, params) => {
    expect(askedRequest(method, params, () => [])).toBeNull();
  });

  test('a fingerprint is that of the thing asked for, not of the asking', () => {
    const fingerprint = (params: object, diff = 'x', method = 'item/commandExecution/requestApproval') =>
      askedRequest(method, params, () => [{ ...change, diff }])?.request.fingerprint;
    const one = fingerprint(command);
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    expect(fingerprint({ ...command, itemId: 'i2', turnId: 't2', startedAtMs: 2, reason: 'again' })).toBe(
      one,
    );
    expect(fingerprint({ ...command, command: 'make all' })).not.toBe(one);
    expect(fingerprint({ ...command, cwd: '/' })).not.toBe(one);
    const patch = (diff: string) => fingerprint(where, diff, 'item/fileChange/requestApproval');
    expect(patch('x')).toBe(patch('x'));
    expect(patch('x')).not.toBe(patch('y'));
  });
});

describe('requestNote', () => {
  const request = { kind: 'command', summary: 'make' } as const;
  test.each([
    [timedOut, /within 30 s \(timeout\)\. It was not denied/],
    [noChannel, /no channel/],
    [denied, /A person denied your request "make" and said: not this/],
    [{ resolution: 'denied', text: null } as const, null],
    [approved, null],
    [{ resolution: 'superseded' } as const, null],
    [{ resolution: 'withdrawn' } as const, null],
  ])('%j', (resolution, expected) => {
    const note = requestNote(request, resolution, 30_000);
    if (expected === null) expect(note).toBeNull();
    else expect(note).toMatch(expected);
  });

  test('an answer that was there before the agent asked again says nothing about the time', () => {
    const note = requestNote(request, timedOut, 3);
    expect(note).toMatch(/^Nobody answered your request "make" in time \(timeout\)\. It was not denied/);
    expect(note).not.toMatch(/within/);
  });

  test('what cannot be shown is told with the reason', () => {
    expect(requestNote(request, noChannel, 3, 'it is too long')).toMatch(
      /^Nobody could be asked: it is too long,/,
    );
  });

  test('the answer to a question is no denial', () => {
    expect(requestNote({ kind: 'question', summary: 'x' }, answered('A'), 1)).toBeNull();
  });
});

describe('requests of the agent, in the driver', () => {
  let codex: FakeCodex;
  beforeEach(() => {
    codex = new FakeCodex();
  });
  afterEach(() => codex.dispose());

  test('waits as long as it takes, and is answered once', async () => {
    await codex.turn('on-request');
    codex.ask(0, 'item/commandExecution/requestApproval', command);
    const [request] = codex.requests;
    expect(request?.requestId).toMatch(/^req_[0-9a-z]{26}$/);
    expect(codex.answerTo(0)).toBeUndefined();
    expect(codex.events).toEqual([]);
    await codex.driver.answer(request?.requestId ?? '', timedOut);
    await codex.driver.answer(request?.requestId ?? '', approved);
    expect(codex.received.filter((message) => message.id === 0 && message.method === undefined)).toEqual([
      { id: 0, result: { decision: 'decline' } },
    ]);
    expect(codex.sent('turn/steer')).toMatchObject([
      { params: { expectedTurnId: fakeTurnId, clientUserMessageId: `note_${request?.requestId}` } },
    ]);
    codex.notify('serverRequest/resolved', { threadId: fakeThreadId, requestId: 0 });
    expect(codex.closedRequests).toEqual([]);
  });

  test.each([
    [
      'it changes its mind',
      (it: FakeCodex) => it.notify('serverRequest/resolved', { threadId: fakeThreadId, requestId: 0 }),
    ],
    [
      'its turn ends',
      (it: FakeCodex) =>
        it.notify('turn/completed', {
          threadId: fakeThreadId,
          turn: { id: fakeTurnId, status: 'interrupted' },
        }),
    ],
    ['its process ends', (it: FakeCodex) => it.exit()],
  ])('closes when %s', async (_name, act) => {
    await codex.turn('on-request');
    codex.ask(0, 'item/commandExecution/requestApproval', command);
    act(codex);
    const requestId = codex.requests[0]?.requestId ?? '';
    expect(codex.closedRequests).toEqual([requestId]);
    await codex.driver.answer(requestId, approved);
    expect(codex.answerTo(0)).toBeUndefined();
  });

  test('policy never: answered at once, and both are seen', async () => {
    await codex.turn('never');
    codex.ask(0, 'item/commandExecution/requestApproval', command);
    expect(codex.requests).toEqual([]);
    expect(codex.answerTo(0)).toMatchObject({ result: { decision: 'decline' } });
    const [asked, resolved] = codex.events;
    expect(asked?.type).toBe('approval_requested');
    expect(resolved?.type).toBe('approval_resolved');
    const { requestId } = approvalRequestedPayloadSchema.parse(asked?.payload);
    expect(approvalResolvedPayloadSchema.parse(resolved?.payload)).toMatchObject({
      requestId,
      resolution: 'no-channel',
    });
    await expect.poll(() => codex.sent('turn/steer').length).toBe(1);
  });

  test('a request of an unknown kind gets an error at once, and an event', async () => {
    await codex.turn('on-request');
    codex.ask(0, 'item/tool/call', { tool: 'x' });
    expect(codex.answerTo(0)).toMatchObject({ error: { code: -32_601 } });
    expect(codex.events).toMatchObject([
      { type: 'backend_status', payload: { phase: 'agent-request-refused', method: 'item/tool/call' } },
    ]);
  });

  test('a patch is shown with the files that its item announced', async () => {
    await codex.turn('on-request');
    const changes = [{ path: '/etc/hosts', kind: { type: 'update' }, diff: '+x' }];
    const item = { type: 'fileChange', id: 'item-1', status: 'inProgress', changes };
    codex.notify('item/started', { threadId: fakeThreadId, turnId: fakeTurnId, item });
    codex.ask(0, 'item/fileChange/requestApproval', where);
    expect(codex.requests[0]?.summary).toBe('change files: update /etc/hosts');
  });
});

describe('approvals with a real Codex', { timeout: 40_000 }, () => {
  const escalated = (cmd: string) => ({
    name: 'exec_command',
    arguments: { cmd, sandbox_permissions: 'require_escalated', justification: 'because' },
  });
  const outside = '/var/tmp/agentrun-approval-test.txt';
  const patch = `apply_patch <<'EOP'\n*** Begin Patch\n*** Add File: ${outside}\n+hello\n*** End Patch\nEOP`;
  const scenarios = [
    { name: 'ask', steps: [{ toolCalls: [escalated('echo ran >> ran.txt')] }, { text: 'end' }] },
    {
      name: 'ask-twice',
      steps: [
        { toolCalls: [escalated('echo ran >> ran.txt')] },
        { toolCalls: [escalated('echo ran >> ran.txt')] },
        { text: 'end' },
      ],
    },
    {
      name: 'patch',
      steps: [{ toolCalls: [{ name: 'exec_command', arguments: { cmd: patch } }] }, { text: 'end' }],
    },
    { name: 'outside', steps: [{ toolCalls: [{ cmd: `echo ran > ${outside}` }] }, { text: 'end' }] },
    { name: 'plain', steps: [{ toolCalls: [{ cmd: 'touch ran.txt' }] }, { text: 'end' }] },
  ];
  let rig: DriverRig;
  const ran = () => {
    const file = join(rig.directory, 'workspace', 'ran.txt');
    return existsSync(file) ? readFileSync(file, 'utf8') : null;
  };

  beforeEach(async () => {
    rig = await DriverRig.open('codex', { scenarios });
  });
  afterEach(async () => {
    await rig.close();
    rmSync(outside, { force: true });
  });

  async function begun(prompt: string, approvalPolicy: 'on-request' | 'untrusted' = 'on-request') {
    const driver = await rig.driver();
    const { threadId } = await driver.openThread({ threadId: null, approvalPolicy, readHistory: false });
    await driver.prompt('cmd_one', { prompt });
    return { driver, threadId, request: await rig.request() };
  }

  test.each([
    [timedOut, 'It was not denied', 'A person denied'],
    [denied, 'and said: not this', '(timeout)'],
  ])('%j: the agent is told just that, once', async (resolution, told, untold) => {
    const { driver, request } = await begun('[[scenario:ask]] go');
    await driver.answer(request.requestId, resolution);
    expect(await rig.turnEnd()).toMatchObject({ status: 'completed' });
    expect(rig.lastInput().split(told)).toHaveLength(2);
    expect(rig.lastInput().includes(untold)).toBe(false);
    expect(ran()).toBeNull();
    await rig.event('user_message', (payload) => payload.commandId === `note_${request.requestId}`);
  });

  test('approved for the session: the same is not asked again', async () => {
    const { driver, request } = await begun('[[scenario:ask-twice]] go');
    await driver.answer(request.requestId, forSession);
    await rig.turnEnd();
    expect(rig.requests).toHaveLength(1);
    expect(ran()).toBe('ran\nran\n');
  });

  test('a steer is taken while the agent waits', async () => {
    const { driver, request } = await begun('[[scenario:ask]] go');
    expect(await driver.steer('cmd_steer', { prompt: 'marker-steer' })).toEqual({ answer: 'accepted' });
    await driver.answer(request.requestId, approved);
    await rig.turnEnd();
    expect(rig.lastInput().includes('marker-steer')).toBe(true);
    expect(ran()).toBe('ran\n');
  });

  test('a patch outside of the workspace is asked for by its path', async () => {
    const { driver, request } = await begun('[[scenario:patch]] go');
    expect(request).toMatchObject({
      kind: 'file-change',
      summary: `change files: add ${outside}`,
      details: `add ${outside}\nhello\n`,
    });
    await driver.answer(request.requestId, approved);
    await rig.turnEnd();
    expect(readFileSync(outside, 'utf8')).toBe('hello\n');
  });

  test.each(['interrupt', 'kill'] as const)(
    '%s while it waits closes the request before the end',
    async (how) => {
      const { driver, request } = await begun('[[scenario:ask]] go');
      await driver[how]();
      await rig.turnEnd();
      expect(rig.closedRequests).toEqual([request.requestId]);
      expect(ran()).toBeNull();
    },
  );

  test('the same thing asked anew after a kill has the same fingerprint and another id', async () => {
    const { driver, threadId, request } = await begun('[[scenario:ask]] go');
    driver.kill();
    await rig.turnEnd();
    const next = await rig.driver();
    await next.openThread({ threadId, approvalPolicy: 'on-request', readHistory: true });
    await next.prompt('cmd_two', { prompt: '[[scenario:ask]] again' });
    const anew = await rig.request(2);
    expect(anew.fingerprint).toBe(request.fingerprint);
    expect(anew.requestId).not.toBe(request.requestId);
    await next.answer(anew.requestId, approved);
    await rig.turnEnd(2);
    expect(ran()).toBe('ran\n');
  });

  test('another policy on an open thread: never asks nobody, on-request asks again', async () => {
    const { driver, threadId, request } = await begun('[[scenario:ask]] go');
    await driver.answer(request.requestId, { resolution: 'denied', text: null });
    await rig.turnEnd();
    await driver.openThread({ threadId, approvalPolicy: 'never', readHistory: false });
    await driver.prompt('cmd_two', { prompt: '[[scenario:outside]] go' });
    await rig.turnEnd(2);
    expect(rig.requests).toHaveLength(1);
    // What the sandbox of on-request refuses.
    expect(readFileSync(outside, 'utf8')).toBe('ran\n');
    await driver.openThread({ threadId, approvalPolicy: 'on-request', readHistory: false });
    await driver.prompt('cmd_three', { prompt: '[[scenario:ask]] go' });
    await driver.answer((await rig.request(2)).requestId, approved);
    await rig.turnEnd(3);
    expect(ran()).toBe('ran\n');
  });

  test('untrusted asks before a command that is not known to be harmless', async () => {
    const { driver, request } = await begun('[[scenario:plain]] go', 'untrusted');
    expect(request.command).toContain('touch ran.txt');
    await driver.answer(request.requestId, approved);
    await rig.turnEnd();
    expect(ran()).toBe('');
  });
});

/** A model that asks a question: the scripted one has no calls with lists in them. */
describe('a question with a real Codex', { timeout: 40_000 }, () => {
  const asked = {
    questions: [
      {
        id: 'colour',
        header: 'Colour',
        question: 'Which colour?',
        options: [
          { label: 'red', description: 'warm' },
          { label: 'blue', description: 'cold' },
        ],
      },
    ],
  };
  const items: object[] = [
    {
      type: 'function_call',
      id: 'fc_1',
      call_id: 'call_1',
      name: 'request_user_input',
      arguments: JSON.stringify(asked),
      status: 'completed',
    },
    {
      type: 'message',
      id: 'msg_1',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: 'end', annotations: [] }],
    },
  ];
  const inputs: string[] = [];
  const upstream = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString('utf8');
    });
    request.on('end', () => {
      const item = items[inputs.length];
      inputs.push(body);
      const answer = { id: `resp_${inputs.length}`, object: 'response', status: 'completed', output: [item] };
      const frames = [
        { type: 'response.created', response: { ...answer, status: 'in_progress', output: [] } },
        { type: 'response.output_item.done', output_index: 0, item },
        { type: 'response.completed', response: { ...answer, usage: null } },
      ];
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const frame of frames) response.write(`event: ${frame.type}\ndata: ${JSON.stringify(frame)}\n\n`);
      response.end();
    });
  });
  afterAll(() => upstream.close());

  test('is asked in an ordinary turn, and the answer is what the model sees', async () => {
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const address = upstream.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const rig = await DriverRig.open('codex', { upstreamUrl: `http://127.0.0.1:${port}/v1` });
    try {
      const driver = await rig.driver();
      await driver.openThread({ threadId: null, approvalPolicy: 'on-request', readHistory: false });
      await driver.prompt('cmd_one', { prompt: 'paint it' });
      const request = await rig.request();
      expect(request).toMatchObject({
        kind: 'question',
        summary: 'Which colour?',
        questions: [{ id: 'colour', options: [{ label: 'red' }, { label: 'blue' }] }],
      });
      await driver.answer(request.requestId, answered(null, { colour: ['blue, but dark'] }));
      expect(await rig.turnEnd()).toMatchObject({ status: 'completed' });
      expect(inputs).toHaveLength(2);
      expect(inputs[1]?.split('blue, but dark')).toHaveLength(2);
    } finally {
      await rig.close();
      upstream.closeAllConnections();
    }
  });
});
