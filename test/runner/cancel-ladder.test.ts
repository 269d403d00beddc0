import { describe, expect, test } from 'vitest';
import type { CancelStep } from '../../contract/runs.js';
import type { TurnEnd } from '../../runner/drivers/driver.js';
import { cancelLimits, endTurnByLadder } from '../../runner/supervisor/cancel-ladder.js';
import { FakeDriver } from './support/fake-driver.js';

const limits = { interruptMs: 100, cleanUpMs: 100, killMs: 100 };

/** A turn of a fake agent, ended by the ladder. */
async function climb(
  prepare: (driver: FakeDriver) => void,
  options: { driver?: boolean; limits?: typeof limits } = {},
) {
  const driver = new FakeDriver();
  driver.calls.push('prompt');
  prepare(driver);
  const steps: CancelStep[] = [];
  const ends: TurnEnd[] = [];
  let settleEnd: (end: TurnEnd) => void = () => undefined;
  const ended = new Promise<TurnEnd>((resolve) => {
    settleEnd = resolve;
  });
  const onTurnEnd = (end: TurnEnd): void => {
    ends.push(end);
    settleEnd(end);
  };
  driver.listen({
    onEvent: () => undefined,
    onActivity: () => undefined,
    onRequest: () => undefined,
    onRequestClosed: () => undefined,
    onTurnEnd,
  });
  const startedAt = performance.now();
  await endTurnByLadder({
    driver: () => (options.driver === false ? undefined : driver),
    ended,
    settle: () => {
      if (ends.length === 0)
        onTurnEnd({ status: 'interrupted', failureKind: null, message: null, turnId: null });
    },
    limits: options.limits ?? limits,
    onStep: (step) => steps.push(step),
    log: { warn: () => undefined },
  });
  return { driver, steps, ends, tookMs: performance.now() - startedAt };
}

describe('the ladder of a cancel', () => {
  test('an agent that listens: interrupt, and the end of what it left in the background', async () => {
    const { driver, steps } = await climb(() => undefined);
    expect(steps).toEqual([
      'interrupt-sent',
      'interrupt-answered',
      'background-terminals-cleaned',
      'turn-cancelled',
    ]);
    expect(driver.calls).toEqual(['prompt', 'interrupt', 'cleanUp']);
  });

  test('one that does not hear is killed after the grace', async () => {
    const { driver, steps, tookMs } = await climb((agent) => {
      agent.deaf = true;
    });
    expect(steps).toEqual(['interrupt-sent', 'interrupt-answered', 'process-group-killed', 'turn-cancelled']);
    expect(driver.calls).toEqual(['prompt', 'interrupt', 'kill']);
    expect(tookMs).toBeGreaterThanOrEqual(95);
  });

  test('one that never answers and does not die is left: the turn ends within the limits', async () => {
    const { steps, ends, tookMs } = await climb((agent) => {
      agent.deaf = true;
      agent.immortal = true;
      agent.interrupt = () => new Promise(() => undefined);
    });
    expect(steps).toEqual(['interrupt-sent', 'process-group-killed', 'turn-cancelled']);
    expect(ends.map((end) => end.status)).toEqual(['interrupted']);
    expect(tookMs).toBeLessThan(2_000);
  });

  test('an agent whose background cannot be cleaned is killed', async () => {
    for (const cleanUp of [
      () => Promise.reject(new Error('no')),
      () => new Promise<boolean>(() => undefined),
      () => Promise.resolve(false),
    ]) {
      const { steps } = await climb((agent) => {
        agent.cleanUp = cleanUp;
      });
      expect(steps).toEqual([
        'interrupt-sent',
        'interrupt-answered',
        'process-group-killed',
        'turn-cancelled',
      ]);
    }
  });

  test('an agent that refuses the interrupt is killed at once, and no answer is told', async () => {
    for (const interrupt of [() => Promise.reject(new Error('no')), () => Promise.resolve(false)]) {
      const { steps, tookMs } = await climb(
        (agent) => {
          agent.interrupt = interrupt;
        },
        { limits: { ...limits, interruptMs: 60_000 } },
      );
      expect(steps).toEqual(['interrupt-sent', 'process-group-killed', 'turn-cancelled']);
      expect(tookMs).toBeLessThan(2_000);
    }
  });

  test('no agent yet: the turn is settled', async () => {
    const { steps, ends } = await climb(() => undefined, { driver: false });
    expect(steps).toEqual(['turn-cancelled']);
    expect(ends).toHaveLength(1);
  });

  test('a turn that was completed in the same moment is not called cancelled', async () => {
    const { steps } = await climb((agent) => {
      agent.interrupt = () => {
        agent.end();
        return Promise.resolve(true);
      };
    });
    expect(steps).toEqual(['interrupt-sent', 'interrupt-answered', 'background-terminals-cleaned']);
  });
});

test.each([
  [null, { interruptMs: 5_000, cleanUpMs: 2_000, killMs: 2_500 }],
  [1_000, { interruptMs: 1_000 / 3, cleanUpMs: 1_000 / 6, killMs: 1_000 / 6 }],
  [600_000, { interruptMs: 5_000, cleanUpMs: 2_000, killMs: 3_000 }],
])('the limits of a deadline of %s ms', (deadlineMs, expected) => {
  expect(cancelLimits(deadlineMs)).toEqual(expected);
  const { interruptMs, cleanUpMs, killMs } = cancelLimits(deadlineMs);
  expect(interruptMs + cleanUpMs + killMs).toBeLessThan(deadlineMs ?? 15_000);
});
