import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { answerBody, answersById } from '../../cli/commands/requests.js';
import { eventLines } from '../../cli/event-lines.js';
import { UsageError } from '../../cli/explain-error.js';
import { requestLines } from '../../cli/request-lines.js';
import type { AgentRequest, AgentRequestRecord } from '../../contract/agent-requests.js';
import type { RunEvent } from '../../contract/events.js';
import { lowestIdAt } from '../../contract/ids.js';
import type { AgentRequestState } from '../../contract/states.js';

const requestId = lowestIdAt('req', 1);
const request = (more: Partial<AgentRequest> = {}) => ({
  requestId,
  kind: 'command' as const,
  itemId: null,
  summary: 'run a command',
  command: 'rm -rf build',
  cwd: '/workspace',
  reason: 'a clean build',
  questions: [],
  fingerprint: 'f',
  ...more,
  details: more.details ?? null,
});
const record = (state: AgentRequestState, more: Partial<AgentRequestRecord> = {}): AgentRequestRecord => ({
  ...request(),
  runId: 'run_1',
  sessionId: 's1',
  epoch: 1,
  state,
  askedAt: '2026-01-01T00:00:00.000Z',
  expiresAt: '2026-01-02T00:00:00.000Z',
  resolvedAt: null,
  deliveredAt: null,
  answerCommandId: null,
  valuesPrinted: false,
  ...more,
});
const event = (type: RunEvent['type'], payload: RunEvent['payload']): RunEvent => ({
  seq: 1,
  eventId: 'evt_1',
  runId: 'run_1',
  attempt: 1,
  epoch: 1,
  type,
  at: '2026-01-01T00:00:00.000Z',
  payload,
});
const form = { id: 'name', header: '', question: 'name?', options: null, secret: false };
const plain = (lines: readonly string[]) => lines.map(stripVTControlCharacters);

describe('watch', () => {
  it('shows what the agent asks, with the command that answers it', () => {
    expect(plain(eventLines(event('approval_requested', { ...request() }), 's1'))).toEqual([
      '? the agent waits: may it run this? run a command',
      '    $ rm -rf build',
      '    in /workspace',
      '    because a clean build',
      `    agentrun answer s1 ${requestId} approve | approve-for-session | deny [why]`,
    ]);
  });

  it('shows questions with their choices', () => {
    const question = (id: string) => ({
      id,
      header: 'Colour',
      question: 'which one?',
      options: [{ label: 'red', description: 'like a rose' }],
      secret: false,
    });
    const asked = request({
      kind: 'question',
      command: null,
      cwd: null,
      reason: null,
      questions: [question('a'), question('b')],
    });
    expect(plain(eventLines(event('approval_requested', { ...asked }), 's1'))).toEqual([
      '? the agent waits: it has a question run a command',
      '    [a] Colour: which one?',
      '      - red: like a rose',
      '    [b] Colour: which one?',
      '      - red: like a rose',
      `    agentrun answer s1 ${requestId} --to a=<text> --to b=<text>`,
    ]);
  });

  it.each([
    ['approved', 'request approved'],
    ['denied', 'request denied'],
    ['answered', 'request answered'],
    ['timed-out', 'request timed out: nobody answered (it was not denied)'],
    ['no-channel', 'request could not be asked: nobody is there to answer'],
    ['superseded', 'request superseded: its runner was lost, the next attempt asks anew'],
    ['withdrawn', 'request withdrawn: the turn ended first'],
  ])('keeps the ends apart: %s', (resolution, line) => {
    const lines = eventLines(event('approval_resolved', { requestId, resolution, reason: null }));
    expect(plain(lines)).toEqual([`  ${line}`]);
  });

  it('shows nothing of a payload that it does not know', () => {
    expect(eventLines(event('approval_requested', { a: 1 }))).toEqual([]);
    expect(eventLines(event('approval_resolved', { a: 1 }))).toEqual([]);
  });
});

describe('requests', () => {
  it('shows how long one waits, and whether the agent knows the answer', () => {
    expect(plain(requestLines(record('pending')))[0]).toBe(
      `${requestId} pending since 2026-01-01T00:00:00.000Z, until 2026-01-02T00:00:00.000Z`,
    );
    expect(plain(requestLines(record('pending', { expiresAt: null })))[0]).not.toContain('until');
    expect(plain(requestLines(record('approved')))).toEqual([
      `${requestId} approved (the agent has not been told yet): run a command`,
    ]);
    expect(plain(requestLines(record('approved', { deliveredAt: 'now' })))).toEqual([
      `${requestId} approved: run a command`,
    ]);
  });
});

describe('answer', () => {
  it.each<[AgentRequest['kind'] | undefined, string, object]>([
    ['command', 'approve', { decision: 'approve' }],
    ['file-change', 'approve-for-session', { decision: 'approve-for-session' }],
    ['permissions', 'deny use make clean', { decision: 'deny', prompt: 'use make clean' }],
    ['command', 'yes please', { prompt: 'yes please' }],
    ['question', 'approve', { prompt: 'approve' }],
    ['question', 'deny everything', { prompt: 'deny everything' }],
    ['elicitation', 'deny', { decision: 'deny' }],
    ['elicitation', 'approve it', { prompt: 'approve it' }],
    [undefined, 'approve', { decision: 'approve' }],
    ['question', '', {}],
  ])('to a %s: %s', (kind, words, body) => {
    const asked = kind === undefined ? undefined : { kind, questions: kind === 'elicitation' ? [form] : [] };
    expect(answerBody(asked, words.split(' '))).toEqual(body);
  });

  it('to an elicitation without a form', () => {
    expect(answerBody({ kind: 'elicitation', questions: [] }, ['approve'])).toEqual({ decision: 'approve' });
  });

  it('by question', () => {
    expect(answersById(['a=1', 'b=x=y', 'a=2'])).toEqual({ a: ['1', '2'], b: ['x=y'] });
    for (const wrong of ['a', '=x', '']) expect(() => answersById([wrong])).toThrow(UsageError);
  });
});
