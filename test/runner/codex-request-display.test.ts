import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { agentRequestSchema } from '../../contract/agent-requests.js';
import { approvalRequestedPayloadSchema } from '../../contract/events.js';
import { askedRequest } from '../../runner/drivers/codex/codex-requests.js';
import { type AnnouncedChange, shortened } from '../../runner/drivers/codex/shown-request.js';
import { FakeCodex, fakeThreadId, fakeTurnId } from './support/fake-codex.js';

const where = { threadId: fakeThreadId, turnId: fakeTurnId, itemId: 'item-1', startedAtMs: 1 };
const command = { ...where, kind: 'command', command: 'make', cwd: '/w', reason: 'to build' };
const hosts: AnnouncedChange = { path: '/etc/hosts', kind: 'update', movedTo: null, diff: '+evil' };
const commandMethod = 'item/commandExecution/requestApproval';
const patchMethod = 'item/fileChange/requestApproval';
const permissionsMethod = 'item/permissions/requestApproval';

function shown(method: string, params: object, changes: readonly AnnouncedChange[] = []) {
  const asked = askedRequest(method, params, () => changes);
  if (asked === null) throw new Error('nothing is asked');
  return {
    ...agentRequestSchema.parse({ requestId: 'req_00000000000000000000000000', ...asked.request }),
    unshowable: asked.unshowable,
  };
}

describe('what a person sees of a request', () => {
  test.each<[string, string, object, readonly AnnouncedChange[], readonly string[]]>([
    [
      'permissions beside a command',
      commandMethod,
      { ...command, additionalPermissions: { fileSystem: { write: ['/srv'] }, network: null } },
      [],
      ['make', '/srv'],
    ],
    [
      'a network host beside a command',
      commandMethod,
      { ...command, networkApprovalContext: { host: 'evil.example', protocol: 'https' } },
      [],
      ['make', 'evil.example', 'https'],
    ],
    [
      'another environment than the runner',
      commandMethod,
      { ...command, environmentId: 'remote-1' },
      [],
      ['make', 'remote-1'],
    ],
    [
      'a root beside files',
      patchMethod,
      { ...where, grantRoot: '/srv' },
      [hosts],
      ['/srv', 'update /etc/hosts'],
    ],
    [
      'where a file goes',
      patchMethod,
      where,
      [{ ...hosts, movedTo: '/etc/cron.d/x' }],
      ['update /etc/hosts and move it to /etc/cron.d/x'],
    ],
    [
      'permissions',
      permissionsMethod,
      { ...where, cwd: '/w', permissions: { network: { enabled: true } } },
      [],
      ['"enabled":true'],
    ],
    [
      'the root of the older protocol',
      'applyPatchApproval',
      { callId: 'c', fileChanges: { 'a.txt': { type: 'add', content: 'x' } }, grantRoot: '/srv' },
      [],
      ['/srv', 'add a.txt'],
    ],
  ])('%s: in the summary and in the details', (_name, method, params, changes, parts) => {
    const request = shown(method, params, changes);
    expect(request.unshowable).toBeNull();
    for (const part of parts) {
      expect(request.summary).toContain(part);
      if (part !== request.command) expect(request.details).toContain(part);
    }
  });

  test('patches are shown, and a long one says how much is left off', () => {
    const long = { ...hosts, path: '/long', diff: 'y'.repeat(100_000) };
    const { details, unshowable } = shown(patchMethod, where, [long, hosts]);
    expect(unshowable).toBeNull();
    expect(details).toMatch(/^update \/long\ny+… \d+ characters more\nupdate \/etc\/hosts\n\+evil$/);
    const left = Number(/… (\d+) characters/.exec(details ?? '')?.[1]);
    expect((details ?? '').split('y').length - 1 + left).toBe(100_000);
  });

  test('many patches: every file is named', () => {
    const changes = Array.from({ length: 200 }, (_, at) => ({
      ...hosts,
      path: `/srv/${at}.txt`,
      diff: `${at}:${'z'.repeat(9_000)}`,
    }));
    const { details, unshowable } = shown(patchMethod, where, changes);
    expect(unshowable).toBeNull();
    for (const { path } of changes) expect(details).toContain(`update ${path}\n`);
  });

  test('a reason may be cut, in so many words', () => {
    const { reason, unshowable } = shown(commandMethod, { ...command, reason: 'r'.repeat(5_000) });
    expect(reason).toMatch(/r… \d+ characters more$/);
    expect(unshowable).toBeNull();
  });

  test.each<[string, string, object, readonly AnnouncedChange[]]>([
    ['command', commandMethod, { ...command, command: `true ${'#'.repeat(20_000)}; rm -rf /` }, []],
    ['folder', commandMethod, { ...command, cwd: `/${'d'.repeat(5_000)}` }, []],
    [
      'what it asks for',
      commandMethod,
      { ...command, additionalPermissions: { write: 'p'.repeat(20_000) } },
      [],
    ],
    ['what it asks for', permissionsMethod, { ...where, permissions: { write: 'p'.repeat(20_000) } }, []],
    ['what it asks for', patchMethod, where, [{ ...hosts, path: `/${'d'.repeat(20_000)}` }]],
    [
      'the form',
      'item/tool/requestUserInput',
      { ...where, questions: Array.from({ length: 21 }, (_, at) => ({ id: `q${at}`, question: 'which?' })) },
      [],
    ],
  ])('what would be granted is shown whole or not asked: %s', (what, method, params, changes) => {
    const { unshowable } = shown(method, params, changes);
    expect(unshowable).toMatch(/^it is too long to be shown whole/);
    expect(unshowable).toContain(what);
  });

  test('a cut never leaves half a character', () => {
    for (const before of ['', 'x']) {
      const cut = shortened(before + '🐦'.repeat(100), 100);
      expect(cut.length).toBeLessThanOrEqual(100);
      expect(Buffer.from(cut).toString()).toBe(cut);
    }
    expect(shortened('x'.repeat(100), 100)).toBe('x'.repeat(100));
  });

  test('a request of before has no details', () => {
    const { details, unshowable, ...before } = shown(commandMethod, command);
    expect([details, unshowable]).toEqual([null, null]);
    expect(approvalRequestedPayloadSchema.parse(before).details).toBeNull();
  });
});

describe('fingerprints', () => {
  const of = (method: string, params: object, changes: readonly AnnouncedChange[] = []) =>
    shown(method, params, changes).fingerprint;

  test.each<[string, string, object, readonly AnnouncedChange[]]>([
    ['a command', commandMethod, { ...command, environmentId: 'one' }, []],
    ['a patch', patchMethod, where, [hosts]],
    ['permissions', permissionsMethod, { ...where, environmentId: 'one', permissions: { network: 1 } }, []],
  ])('%s: the same again is the same', (_name, method, params, changes) => {
    expect(of(method, params, changes)).toBe(of(method, { ...params, itemId: 'another' }, changes));
  });

  test.each<[string, string, object, readonly AnnouncedChange[]]>([
    ['a patch that was not announced', patchMethod, where, []],
    ['one that was not announced below a root', patchMethod, { ...where, grantRoot: '/srv' }, []],
    ['a patch whose text is not known', patchMethod, where, [{ ...hosts, diff: null }]],
    ['words into a terminal', commandMethod, { ...command, kind: 'writeStdin', command: 'yes' }, []],
    ['a command without words', commandMethod, { ...where, command: null }, []],
    ['no files', 'applyPatchApproval', { callId: 'c', fileChanges: {} }, []],
  ])('%s is never the same', (_name, method, params, changes) => {
    const one = of(method, params, changes);
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    expect(of(method, params, changes)).not.toBe(one);
  });

  test.each<[string, string, object, object]>([
    [
      'environment',
      commandMethod,
      { ...command, environmentId: 'one' },
      { ...command, environmentId: 'two' },
    ],
    [
      'environment of permissions',
      permissionsMethod,
      { ...where, environmentId: 'one', permissions: {} },
      { ...where, environmentId: 'two', permissions: {} },
    ],
    [
      'words',
      'execCommandApproval',
      { callId: 'c', command: ['rm', 'a b'] },
      { callId: 'c', command: ['rm', 'a', 'b'] },
    ],
  ])('another %s is another thing', (_name, method, one, two) => {
    expect(of(method, one)).not.toBe(of(method, two));
  });

  test('a file that goes elsewhere is another thing', () => {
    expect(of(patchMethod, where, [hosts])).not.toBe(of(patchMethod, where, [{ ...hosts, movedTo: '/x' }]));
  });
});

describe('requests, in the driver', () => {
  let codex: FakeCodex;
  beforeEach(async () => {
    codex = new FakeCodex();
    await codex.turn('on-request');
  });
  afterEach(() => codex.dispose());

  const announce = (threadId: string, path: string) => {
    const changes = [{ path, kind: { type: 'update', move_path: null }, diff: '+x' }];
    const item = { type: 'fileChange', id: where.itemId, status: 'inProgress', changes };
    codex.notify('item/started', { threadId, turnId: fakeTurnId, item });
  };

  test('one that cannot be shown whole is declined at once, and both people and agent see why', async () => {
    codex.ask(0, commandMethod, { ...command, command: 'x'.repeat(20_001) });
    expect(codex.requests).toEqual([]);
    expect(codex.answerTo(0)).toMatchObject({ result: { decision: 'decline' } });
    expect(codex.events).toMatchObject([
      { type: 'approval_requested', payload: { command: expect.stringMatching(/x… \d+ characters more$/) } },
      {
        type: 'approval_resolved',
        payload: {
          resolution: 'no-channel',
          reason: expect.stringContaining('the command has 20001 characters'),
        },
      },
    ]);
    for (const event of codex.events.slice(0, 1)) approvalRequestedPayloadSchema.parse(event.payload);
    await expect.poll(() => codex.sent('turn/steer').length).toBe(1);
    expect(JSON.stringify(codex.sent('turn/steer'))).toContain('too long to be shown whole');
  });

  test("a subagent's patch is shown with its own files, and is no part of the transcript", () => {
    announce('thread-of-a-subagent', '/theirs');
    announce(fakeThreadId, '/ours');
    codex.events.length = 0;
    codex.ask(0, patchMethod, { ...where, threadId: 'thread-of-a-subagent' });
    codex.ask(1, patchMethod, where);
    expect(codex.requests.map(({ summary }) => summary)).toEqual([
      'change files: update /theirs',
      'change files: update /ours',
    ]);
    expect(codex.requests[0]?.fingerprint).not.toBe(codex.requests[1]?.fingerprint);
    expect(codex.events).toEqual([]);
  });

  test('a patch that was changed since it began is shown as it is now', () => {
    announce(fakeThreadId, '/before');
    const changes = [{ path: '/now', kind: { type: 'add' }, diff: '+y' }];
    codex.notify('item/fileChange/patchUpdated', { ...where, changes });
    codex.ask(0, patchMethod, where);
    expect(codex.requests[0]).toMatchObject({ summary: 'change files: add /now', details: 'add /now\n+y' });
  });
});
