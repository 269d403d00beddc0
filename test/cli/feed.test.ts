import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { feedLine } from '../../cli/commands/feed.js';
import type { EventType } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

const command = { itemId: 'c', command: 'make\nall', output: 'x\ny', exitCode: null };

it.each<[EventType, JsonObject, string]>([
  ['agent_message', { text: 'one' }, 'agent> one'],
  ['agent_message', { text: 'one\ntwo\u001b[2J' }, 'agent> one …'],
  ['steer_delivery', { delivery: 'delivered' }, 'steer delivered'],
  ['command_execution', { ...command, status: 'inProgress' }, '$ make …'],
  ['command_execution', { ...command, status: 'failed', exitCode: 2 }, '$ make … ended, exit code 2'],
  ['command_execution', { ...command, status: 'declined' }, '$ make … ended, declined'],
  [
    'command_execution',
    { ...command, command: 'x'.repeat(50), status: 'completed', exitCode: 0 },
    `$ ${'x'.repeat(40)} … ended, exit code 0`,
  ],
  ['backend_status', { phase: 'cancel-requested' }, '· a cancel was requested'],
  ['usage', { totalTokens: 2_300 }, 'usage 2,300 tokens'],
  ['diff', {}, 'diff'],
])('feed shows %s %j in one line', (type, payload, expected) => {
  expect(shown(type, payload)).toEqual([`2026-01-01T00:00:00.000Z t/p s1 ${expected}`]);
});

it.each<[EventType, JsonObject]>([
  ['backend_status', { phase: 'boot' }],
  ['backend_status', { phase: 'thread-opened' }],
  ['usage', { source: 'proxy', totalTokens: 0 }],
  ['usage', {}],
  ['reasoning', { text: '' }],
  ['file_change', { status: 'inProgress', changes: [] }],
])('feed is silent about %s %j', (type, payload) => {
  expect(shown(type, payload)).toEqual([]);
});

function shown(type: EventType, payload: JsonObject): string[] {
  return feedLine({
    seq: 1,
    eventId: 'evt_1',
    runId: 'run_1',
    attempt: 1,
    epoch: 1,
    at: '2026-01-01T00:00:00.000Z',
    type,
    payload,
    tenantId: 't',
    projectId: 'p',
    sessionId: 's1',
  }).map(stripVTControlCharacters);
}
