import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  agentRequestStateSchema,
  commandStateSchema,
  isTerminalState,
  queueTaskStateSchema,
  runStatusSchema,
  terminalStatusSchema,
} from '../../contract/states.js';
import {
  agentRequestTransitions,
  attemptOutcomeTransitions,
  commandTransitions,
  queueTaskTransitions,
  runTransitions,
  type StateTable,
  transitionOf,
} from '../../domain/state-tables.js';

const ends = ['completed', 'failed', 'blocked', 'cancelled'];
const tables: readonly {
  name: string;
  table: StateTable<string>;
  states: readonly string[];
  allowed: Readonly<Record<string, readonly string[]>>;
}[] = [
  {
    name: 'run',
    table: runTransitions,
    states: runStatusSchema.options,
    allowed: {
      pending: ['claimed', 'failed', 'blocked', 'cancelled'],
      claimed: ['running', ...ends],
      running: ends,
    },
  },
  {
    name: 'attempt outcome',
    table: attemptOutcomeTransitions,
    states: ['none', ...terminalStatusSchema.options],
    allowed: { none: ends },
  },
  {
    name: 'command',
    table: commandTransitions,
    states: commandStateSchema.options,
    allowed: { pending: ['acknowledged', ...ends], acknowledged: ends },
  },
  {
    name: 'queue task',
    table: queueTaskTransitions,
    states: queueTaskStateSchema.options,
    allowed: {
      queued: ['dispatched', 'failed', 'cancelled', 'expired'],
      dispatched: ['running', ...ends, 'expired'],
      running: ends,
    },
  },
  {
    name: 'agent request',
    table: agentRequestTransitions,
    states: agentRequestStateSchema.options,
    allowed: { pending: agentRequestStateSchema.options.filter((state) => state !== 'pending') },
  },
];

describe.each(tables)('the states of a $name', ({ table, states, allowed }) => {
  it('are those of the contract', () => {
    expect(Object.keys(table).toSorted()).toEqual([...states].toSorted());
  });

  const pairs = states.flatMap((from) => states.map((to) => [from, to] as const));
  it.each(pairs)('%s to %s', (from, to) => {
    const expected = from === to ? 'same' : (allowed[from]?.includes(to) ?? false) ? 'change' : 'conflict';
    expect(transitionOf(table, from, to)).toBe(expected);
  });

  it('end in a final state that stays whatever is written', () => {
    const state = fc.constantFrom(...states);
    fc.assert(
      fc.property(state, fc.array(state, { maxLength: 12 }), (start, writes) => {
        let now = start;
        for (const to of writes) {
          const final = (table[now] ?? []).length === 0;
          const next = transitionOf(table, now, to) === 'change' ? to : now;
          expect(final && next !== now).toBe(false);
          now = next;
        }
      }),
    );
    for (const name of states) if (isTerminalState(name)) expect(table[name]).toEqual([]);
  });
});
