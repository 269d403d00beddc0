import { describe, expect, test } from 'vitest';
import { ConnectionError } from '../../client/index.js';
import type { CommandRecord } from '../../contract/commands.js';
import type { SteerAnswer } from '../../runner/drivers/driver.js';
import { SteerQueue } from '../../runner/supervisor/steer-queue.js';
import { fakeCommand } from './support/fake-manager.js';

function queue(answers: (SteerAnswer | Error)[] = []) {
  const sent: string[] = [];
  const accepted: string[] = [];
  const rejected: string[] = [];
  const looked: string[] = [];
  const states = new Map<string, CommandRecord['state'] | Error>();
  const subject = new SteerQueue({
    steer: (id) => {
      sent.push(id);
      const answer = answers.shift() ?? { answer: 'accepted' };
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    stateOf: (id) => {
      looked.push(id);
      const state = states.get(id) ?? 'pending';
      return state instanceof Error ? Promise.reject(state) : Promise.resolve(state);
    },
    onAccepted: (id) => accepted.push(id),
    onRejected: (id) => rejected.push(id),
    log: { info: () => undefined, warn: () => undefined },
  });
  return { subject, sent, accepted, rejected, looked, states };
}

const steers = ['one', 'two', 'three'].map((text, index) => fakeCommand('run', index + 2, 'steer', text));
const [one, two, three] = steers.map((steer) => steer.id);
const add = (subject: SteerQueue, ...indexes: number[]) => {
  for (const index of indexes) {
    const steer = steers[index];
    if (steer !== undefined) subject.add(steer);
  }
};
const settled = () => new Promise((resolve) => setImmediate(resolve));
const poll = (found: () => unknown) => expect.poll(found, { timeout: 5_000, interval: 10 });

describe('steers on their way to the agent', () => {
  test('one that goes out at once is not looked up', async () => {
    const { subject, sent, accepted, looked } = queue();
    subject.turnBegun();
    add(subject, 0);
    await settled();
    expect([sent, accepted, looked]).toEqual([[one], [one], []]);
  });

  test('one that was withdrawn while it waited is not sent', async () => {
    const { subject, sent, accepted, looked, states } = queue();
    add(subject, 0, 1);
    states.set(one ?? '', 'cancelled');
    subject.turnBegun();
    await poll(() => accepted).toEqual([two]);
    expect([sent, looked]).toEqual([[two], [one, two]]);
  });

  test('one that was withdrawn between two tries is not sent again', async () => {
    const { subject, sent, accepted, states } = queue([{ answer: 'notSteerable' }]);
    subject.turnBegun();
    add(subject, 0, 1);
    states.set(one ?? '', 'cancelled');
    await poll(() => accepted).toEqual([two]);
    expect(sent).toEqual([one, two]);
  });

  test('while the API cannot say it the steer waits, and those behind it', async () => {
    const { subject, sent, accepted, looked, states } = queue();
    add(subject, 0, 1);
    states.set(one ?? '', new ConnectionError('network', 'away'));
    subject.turnBegun();
    await poll(() => looked.length).toBeGreaterThan(1);
    expect(sent).toEqual([]);
    states.delete(one ?? '');
    await poll(() => accepted).toEqual([one, two]);
  });

  test.each<[string, SteerAnswer | Error]>([
    ['an unknown answer', { answer: 'unknown' }],
    ['a failure', new Error('lost')],
  ])('%s is not repeated: those behind it wait until its message is seen', async (_name, answer) => {
    const { subject, sent, accepted } = queue([answer]);
    subject.turnBegun();
    add(subject, 0, 1);
    // Longer than any pause between two tries.
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect([sent, accepted]).toEqual([[one], []]);
    subject.seen('another');
    await settled();
    expect(sent).toEqual([one]);
    subject.seen(one ?? '');
    await poll(() => accepted).toEqual([one, two]);
    expect(sent).toEqual([one, two]);
  });

  test('the end of the turn leaves it to the store', async () => {
    const { subject, sent, accepted, rejected } = queue([{ answer: 'unknown' }]);
    subject.turnBegun();
    add(subject, 0, 1);
    await settled();
    subject.turnEnded();
    await settled();
    expect([sent, accepted, rejected]).toEqual([[one], [], []]);
  });

  test('one whose message was seen is not sent any more', async () => {
    const { subject, sent, accepted } = queue([{ answer: 'noActiveTurn' }]);
    add(subject, 0, 1, 2);
    subject.turnBegun();
    await poll(() => sent).toEqual([one]);
    subject.seen(one ?? '');
    subject.seen(three ?? '');
    await poll(() => accepted).toEqual([one, two, three]);
    expect(sent).toEqual([one, two]);
  });

  test('one that the agent refuses for good is told', async () => {
    const { subject, rejected } = queue([{ answer: 'rejected', reason: 'no' }]);
    subject.turnBegun();
    add(subject, 0);
    await settled();
    expect(rejected).toEqual([one]);
  });
});
