import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import type { Output } from '../../cli/output.js';
import { WatchScreen } from '../../cli/watch-screen.js';
import type { WatchFrame } from '../../cli/watch-session.js';
import type { RunEvent } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

/** What is written where, in order. */
function recorder(over: Partial<Output> = {}) {
  const written: unknown[] = [];
  const plain = (lines: readonly string[]) => lines.map(stripVTControlCharacters);
  const output: Output = {
    json: false,
    columns: () => 40,
    line: (...lines) => {
      if (lines.length > 0) written.push(...plain(lines));
    },
    live: (lines) => written.push({ live: plain(lines) }),
    settle: () => written.push('settle'),
    remark: () => undefined,
    data: (...values) => {
      if (over.json === true) written.push(...values);
    },
    ...over,
  };
  return { written, screen: new WatchScreen(output, 's1') };
}

const delta = (offset: number, text: string): WatchFrame => ({
  frame: 'delta',
  data: { itemId: 'm', offset, text },
});
const event = (seq: number, type: RunEvent['type'], payload: JsonObject): WatchFrame => ({
  frame: 'event',
  id: `1.${seq}`,
  data: {
    seq,
    eventId: `evt_${seq}`,
    runId: 'run_1',
    attempt: 1,
    epoch: 1,
    at: '2026-01-01T00:00:00.000Z',
    type,
    payload,
  },
});
const message = event(2, 'agent_message', { itemId: 'm', text: 'Hello, world' });

it('shows text while it is written, below what stays, and its message in its place', () => {
  const { written, screen } = recorder();
  screen.show([delta(0, 'Hello')]);
  screen.show([event(1, 'steer_delivery', { delivery: 'delivered' }), delta(5, ', wor')]);
  screen.show([message]);
  screen.close();
  expect(written).toEqual([
    { live: ['…      Hello'] },
    { live: ['…      Hello, wor'] },
    '  steer delivered',
    { live: [] },
    'agent> Hello, world',
    { live: [] },
  ]);
});

it('shows no text that is being written where lines cannot be taken back', () => {
  const { written, screen } = recorder({ columns: () => null });
  screen.show([delta(0, 'Hello'), message]);
  expect(written).toEqual([{ live: [] }, 'agent> Hello, world']);
});

it('says honestly what is missing, and that the session is over', () => {
  const { written, screen } = recorder();
  screen.show([
    { frame: 'gap', data: { from: '1.1', to: '1.20', reason: 'retention' } },
    { frame: 'caught-up', data: { seq: '1.20' } },
    { frame: 'stream-end', data: { status: 'archived', terminalStatus: null, lastSeq: '1.20' } },
  ]);
  expect(written).toEqual([
    { live: [] },
    '! events 1.1 to 1.20 are not kept any more (retention)',
    '■ the session was archived',
  ]);
});

it('is each frame, and nothing else, with --json', () => {
  const { written, screen } = recorder({ json: true });
  screen.show([delta(0, 'Hello'), message]);
  expect(written).toEqual([delta(0, 'Hello'), message]);
});

it('is wrapped as it was when it was written, and stays where it was when nobody looks on', () => {
  const { written, screen } = recorder();
  const text = 'one two three four five six seven eight nine ten eleven twelve';
  screen.show([delta(0, text)]);
  screen.settle();
  screen.show([event(2, 'agent_message', { itemId: 'm', text })]);
  const rest = ['  eight nine ten eleven twelve'];
  expect(written).toEqual([
    { live: ['…      one two three four five six seven', ...rest] },
    'settle',
    { live: [] },
    'agent> one two three four five six seven',
    ...rest,
  ]);
});
