import { describe, expect, test } from 'vitest';
import type { CommandRecord } from '../../contract/commands.js';
import type { ThreadHistory } from '../../runner/drivers/driver.js';
import { noteId, planTurnStart, type TurnStart } from '../../runner/supervisor/turn-start.js';
import { FakeManager, fakeCommand } from './support/fake-manager.js';

const manager = new FakeManager();
const runId = manager.addRun('the prompt');
const { run } = manager.run(runId).assignment;
const command = (
  name: string,
  type: CommandRecord['type'],
  seq: number,
  changes: Partial<CommandRecord> = {},
) => ({
  ...fakeCommand(runId, seq, type, `text of ${name}`),
  id: name,
  ...changes,
});
const prompt = command('prompt', 'turn', 1);
const acknowledged = { ...prompt, state: 'acknowledged' as const };
const s1 = command('s1', 'steer', 2);
const s2 = command('s2', 'steer', 3);

const end = (status: 'completed' | 'interrupted' | 'failed') => ({
  status,
  failureKind: null,
  message: null,
  turnId: 'turn-9',
});
const history = (
  ids: readonly string[] | null,
  last?: { status: 'completed' | 'interrupted' | 'failed'; ids: readonly string[] },
): ThreadHistory => ({
  truncated: false,
  messageIds: ids === null ? null : new Set(ids),
  lastTurn:
    last === undefined
      ? null
      : {
          end: end(last.status),
          messageIds: new Set(last.ids),
          events: [{ type: 'agent_message', payload: { itemId: 'a', text: 'done' } }],
        },
});

/** In short: what is sent. */
function short(plan: TurnStart): string {
  if (plan.start === 'fail') return `fail ${plan.end.failureKind}`;
  if (plan.start === 'settle') return `settle ${plan.end.status}`;
  return [plan.start, ...plan.steers.map((steer) => steer.id)].join(' ');
}

const note1 = noteId(runId, 2);
const all = [prompt, s1, s2];

describe('what an attempt begins with', () => {
  test.each<{
    name: string;
    epoch?: number;
    resumed?: boolean;
    history?: ThreadHistory | null;
    ids?: boolean;
    handedOver?: boolean;
    commands?: CommandRecord[];
    expected: string;
    held?: string[];
  }>([
    { name: 'the first attempt, fresh thread', epoch: 1, resumed: false, expected: 'prompt s1 s2' },
    { name: 'the first attempt on the session thread', epoch: 1, resumed: true, expected: 'prompt s1 s2' },
    { name: 'no rollout: a fresh thread gets everything', resumed: false, expected: 'prompt s1 s2' },
    {
      name: 'no rollout: also what was delivered to the lost thread',
      resumed: false,
      commands: [
        acknowledged,
        { ...s1, state: 'acknowledged', steerDelivery: 'delivered', deliveredAt: 'then' },
      ],
      expected: 'prompt s1',
    },
    { name: 'an empty thread', history: history([]), expected: 'prompt s1 s2' },
    {
      name: 'a thread with other turns only',
      history: history(['other'], { status: 'completed', ids: ['other'] }),
      expected: 'prompt s1 s2',
    },
    {
      name: 'an acknowledged prompt that is not in the thread',
      history: history([]),
      commands: [acknowledged, s1],
      expected: 'prompt s1',
    },
    {
      name: 'completed',
      history: history(['prompt'], { status: 'completed', ids: ['prompt'] }),
      expected: 'settle completed',
      held: ['prompt'],
    },
    {
      name: 'completed with a steer',
      history: history(['prompt', 's1'], { status: 'completed', ids: ['prompt', 's1'] }),
      expected: 'settle completed',
      held: ['prompt', 's1'],
    },
    {
      name: 'completed in a turn that a note of a former attempt began',
      history: history(['prompt', note1], { status: 'completed', ids: [note1] }),
      expected: 'settle completed',
    },
    {
      name: 'interrupted in a turn that a note began',
      history: history(['prompt', 's1', note1], { status: 'interrupted', ids: [note1, 's1'] }),
      expected: 'note s2',
    },
    {
      name: 'interrupted',
      history: history(['prompt'], { status: 'interrupted', ids: ['prompt'] }),
      expected: 'note s1 s2',
      held: ['prompt'],
    },
    {
      name: 'interrupted, one steer was taken',
      history: history(['prompt', 's1'], { status: 'interrupted', ids: ['prompt', 's1'] }),
      expected: 'note s2',
      held: ['prompt', 's1'],
    },
    {
      name: 'interrupted, the second of two steers was taken',
      history: history(['prompt', 's2'], { status: 'interrupted', ids: ['prompt', 's2'] }),
      expected: 'note s1',
    },
    {
      name: 'failed in the history',
      history: history(['prompt'], { status: 'failed', ids: ['prompt'] }),
      expected: 'note s1 s2',
    },
    {
      name: 'the last turn is a compaction',
      history: history(['prompt'], { status: 'completed', ids: [] }),
      expected: 'note s1 s2',
    },
    { name: 'the prompt without its turn', history: history(['prompt']), expected: 'note s1 s2' },
    {
      name: 'a delivered steer that the thread has lost',
      history: history(['prompt'], { status: 'interrupted', ids: ['prompt'] }),
      commands: [prompt, { ...s1, state: 'acknowledged', steerDelivery: 'delivered', deliveredAt: 'then' }],
      expected: 'note s1',
    },
    {
      name: 'steers whose fate is decided, and an answer',
      history: history(['prompt'], { status: 'interrupted', ids: ['prompt'] }),
      commands: [
        prompt,
        { ...s1, steerDelivery: 'rejected', state: 'failed' },
        { ...s2, steerDelivery: 'next-turn', state: 'completed' },
        command('cancelled', 'steer', 4, { state: 'cancelled' }),
        command('answer', 'answer', 5),
      ],
      expected: 'note',
    },
    {
      name: 'no list of ids: nothing was recorded as delivered',
      history: null,
      commands: [acknowledged, s1],
      expected: 'prompt s1',
    },
    {
      name: 'no list of ids: the record stands for it',
      history: null,
      commands: [{ ...acknowledged, deliveredAt: 'then' }, s1, { ...s2, deliveredAt: 'then' }],
      expected: 'note s1',
    },
    {
      name: 'an agent without ids that never took the prompt',
      ids: false,
      history: history(null),
      commands: [prompt, s1, { ...s2, state: 'acknowledged' }],
      expected: 'prompt s1',
    },
    {
      name: 'an agent without ids that took the prompt',
      ids: false,
      history: history(null),
      commands: [acknowledged, s1],
      expected: 'fail runner-lost',
    },
    {
      name: 'an agent without ids that was about to get the prompt, of which the API never heard',
      ids: false,
      handedOver: true,
      history: history(null),
      commands: [prompt, s1],
      expected: 'fail runner-lost',
    },
    {
      name: 'a thread that was not read to its beginning: what is recorded counts too',
      history: { ...history(['s2'], { status: 'interrupted', ids: ['s2'] }), truncated: true },
      commands: [{ ...acknowledged, deliveredAt: 'then' }, { ...s1, deliveredAt: 'then' }, s2],
      expected: 'note',
      held: ['prompt', 's1', 's2'],
    },
    {
      name: 'an agent without ids that took it, and has no thread either',
      ids: false,
      resumed: false,
      commands: [acknowledged],
      expected: 'fail runner-lost',
    },
    { name: 'no prompt at all', commands: [s1], expected: 'fail infra-failed' },
  ])('$name', (one) => {
    const plan = planTurnStart(
      { run, epoch: one.epoch ?? 3, commands: one.commands ?? all },
      {
        resumed: one.resumed ?? true,
        history: one.history ?? null,
        keepsMessageIds: one.ids ?? true,
        handedOver: one.handedOver ?? false,
      },
    );
    expect(short(plan)).toBe(one.expected);
    if (one.held !== undefined && plan.start !== 'fail')
      expect(plan.held.map((held) => held.id)).toEqual(one.held);
  });

  test('no message is ever sent that the thread holds, and none that it lacks is left out', () => {
    // Every subset of what a thread may hold, for every way its last turn may stand.
    const ids = ['prompt', 's1', 's2'];
    for (let bits = 0; bits < 8; bits += 1) {
      const held = ids.filter((_, index) => (bits >> index) % 2 === 1);
      for (const status of ['completed', 'interrupted', 'failed'] as const) {
        const plan = planTurnStart(
          { run, epoch: 2, commands: all },
          {
            resumed: true,
            history: history(held, { status, ids: held }),
            keepsMessageIds: true,
            handedOver: false,
          },
        );
        if (plan.start === 'fail') throw new Error('never fails');
        if (plan.start === 'settle') {
          expect([status, held.includes('prompt')]).toEqual(['completed', true]);
          continue;
        }
        const sent = [
          ...(plan.start === 'prompt' ? ['prompt'] : []),
          ...plan.steers.map((steer) => steer.id),
        ];
        expect([...sent, ...held].toSorted()).toEqual(ids);
      }
    }
  });
});
