import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { eventLines } from '../../cli/event-lines.js';
import type { JsonObject } from '../../contract/json.js';

const shown = (type: 'backend_status' | 'terminal_status' | 'user_message', payload: JsonObject) =>
  eventLines({
    seq: 1,
    eventId: 'evt_1',
    runId: 'run_1',
    attempt: 1,
    epoch: 1,
    type,
    at: '2026-01-01T00:00:00.000Z',
    payload,
  }).map(stripVTControlCharacters);

it.each<[string, JsonObject, string[]]>([
  [
    'an attempt that is followed by another',
    { phase: 'attempt-ended', attempt: 1, failureKind: 'runner-lost', reason: 'the process ended' },
    ['· attempt 1 ended (runner-lost: the process ended); the next one goes on'],
  ],
  [
    'a park for a person',
    { phase: 'parked', parkedFor: 'person', failureKind: null, reason: 'nobody answered' },
    ['· parked until somebody answers; the runner is released'],
  ],
  [
    'a park for a limit',
    {
      phase: 'parked',
      parkedFor: 'provider-limit',
      failureKind: 'provider-rate-limited',
      reason: 'slow down',
    },
    ['· parked until the limit of the provider is over (provider-rate-limited: slow down)'],
  ],
  ['what only machines need', { phase: 'boot', steps: [] }, []],
])('watch shows %s', (_name, payload, expected) => {
  expect(shown('backend_status', payload)).toEqual(expected);
});

it('watch tells a note of AgentRun from a message of a person', () => {
  expect(shown('user_message', { commandId: 'note_run_1_2', text: 'go on' })).toEqual([
    'note to the agent> go on',
  ]);
  expect(shown('user_message', { commandId: 'cmd_1', text: 'go on' })).toEqual(['you> go on']);
});

it.each<[JsonObject, string]>([
  [{ terminalStatus: 'completed', failureKind: null, message: null }, '■ turn completed'],
  [
    { terminalStatus: 'failed', failureKind: 'provider-auth', message: 'no key' },
    '■ turn failed (provider-auth: no key)',
  ],
  [{ terminalStatus: 'completed' }, '■ turn completed'],
])('watch shows the end %j', (payload, expected) => {
  expect(shown('terminal_status', payload)).toEqual([expected]);
});
