import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { EventView } from '../../cli/event-view.js';
import type { EventType, RunEvent } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

/** Shows events one after another, a second apart. */
function viewer(runId = 'run_1') {
  const view = new EventView('s1');
  let seq = 0;
  const show = (type: EventType, payload: JsonObject, more: Partial<RunEvent> = {}): string[] => {
    seq += 1;
    const at = new Date(seq * 1_000).toISOString();
    const event = { seq, eventId: `evt_${seq}`, runId, attempt: 1, epoch: 1, at, type, payload, ...more };
    return view.lines(event).map(stripVTControlCharacters);
  };
  return show;
}

const begins = (itemId: string) => ({ itemId, status: 'inProgress', command: `do ${itemId}` });
const ends = (itemId: string, output: string) => ({
  itemId,
  status: 'completed',
  command: `do ${itemId}`,
  exitCode: 0,
  output,
});

it('shows the end of a command below its beginning, or says whose it is', () => {
  const show = viewer();
  expect(show('command_execution', begins('a'))).toEqual(['$ do a']);
  expect(show('usage', {})).toEqual([]);
  expect(show('command_execution', ends('a', 'done a'))).toEqual(['  done a']);
  show('command_execution', begins('b'));
  show('command_execution', begins('c'));
  expect(show('command_execution', ends('b', 'done b'))).toEqual(['$ do b', '  done b']);
  expect(show('command_execution', ends('c', 'done c'))).toEqual(['$ do c', '  done c']);
  show('command_execution', begins('d'));
  show('agent_message', { itemId: 'm', text: 'meanwhile' });
  expect(show('command_execution', ends('d', ''))).toEqual(['$ do d']);
});

it('ends a turn with how long it took and what it used, where that is known', () => {
  const show = viewer();
  show('attempt_started', {});
  show('usage', { source: 'agent', totalTokens: 1_000 });
  show('usage', { source: 'proxy', totalTokens: 1_200 });
  show('usage', { source: 'proxy', totalTokens: 1_100 });
  expect(show('terminal_status', { terminalStatus: 'completed' })).toEqual([
    '■ turn completed, 4.0 s, 2,300 tokens',
  ]);
  const next = { runId: 'run_2' };
  expect(show('agent_message', { text: 'hello' }, { ...next, seq: 1 })).toEqual(['', 'agent> hello']);
  show('usage', { source: 'agent', totalTokens: 7 }, next);
  show('usage', { source: 'agent', totalTokens: 9 }, next);
  expect(show('terminal_status', { terminalStatus: 'failed', failureKind: 'x' }, next)).toEqual([
    '■ turn failed (x), 3.0 s, 9 tokens',
  ]);
  // Who came in the middle knows the end alone.
  expect(show('usage', { source: 'agent', totalTokens: 9 }, { runId: 'run_3', seq: 5 })).toEqual([]);
  expect(show('terminal_status', { terminalStatus: 'completed' }, { runId: 'run_3', seq: 6 })).toEqual([
    '',
    '■ turn completed',
  ]);
});

it('says an error once, and that of the turn before not at all', () => {
  const show = viewer();
  const failed = { terminalStatus: 'failed', failureKind: 'provider-auth', message: 'no key' };
  expect(show('error', { message: 'no key' })).toEqual(['error> no key']);
  expect(show('terminal_status', failed)).toEqual(['■ turn failed (provider-auth), 1.0 s']);
  expect(show('terminal_status', failed, { runId: 'run_2', seq: 9 })).toEqual([
    '',
    '■ turn failed (provider-auth: no key)',
  ]);
});
