import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { JsonRpcConnectionError, JsonRpcError } from '../../runner/drivers/codex/json-rpc.js';
import { steerRefusal } from '../../runner/drivers/codex/steer-refusal.js';
import { DriverRig } from './support/driver-rig.js';
import { FakeCodex, FakeRefusal } from './support/fake-codex.js';

const refusal = (code: number, message: string, data: unknown = null) =>
  new JsonRpcError('turn/steer', { code, message, data });

describe('steerRefusal', () => {
  test.each([
    ['overload, after all attempts', refusal(-32_001, 'Server overloaded; retry later.'), 'notSteerable'],
    ['an internal error', refusal(-32_603, 'failed to steer turn: channel closed'), 'notSteerable'],
    ['an unknown invalid request', refusal(-32_600, 'something new'), 'notSteerable'],
    [
      'a review',
      refusal(-32_600, 'cannot steer a review turn', { activeTurnNotSteerable: {} }),
      'notSteerable',
    ],
    ['a compaction', refusal(-32_600, 'cannot steer a compact turn'), 'notSteerable'],
    ['no turn', refusal(-32_600, 'no active turn to steer'), 'noActiveTurn'],
    ['another turn', refusal(-32_600, 'expected active turn id `a` but found `b`'), 'noActiveTurn'],
    ['an empty input', refusal(-32_600, 'input must not be empty'), 'rejected'],
    ['a huge input', refusal(-32_600, 'Input exceeds the maximum length of 1048576 characters.'), 'rejected'],
    ['invalid parameters', refusal(-32_602, 'missing field `type`'), 'rejected'],
    ['no answer', new JsonRpcConnectionError('turn/steer: no answer within 30000 ms'), 'unknown'],
  ])('%s', (_name, error, answer) => {
    expect(steerRefusal(error)).toMatchObject({ answer });
  });
});

describe('a steer and a Codex that misbehaves', () => {
  let codex: FakeCodex;
  beforeEach(() => {
    codex = new FakeCodex();
  });
  afterEach(() => {
    vi.useRealTimers();
    codex.dispose();
  });

  test('no answer in time: nobody knows, and the driver does not send it again', async () => {
    codex.answers['turn/steer'] = () => undefined;
    await codex.turn();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const steered = codex.driver.steer('cmd_steer', { prompt: 'more' });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await steered).toEqual({ answer: 'unknown' });
    expect(codex.sent('turn/steer')).toHaveLength(1);
  });

  test('the process ends on the way: nobody knows', async () => {
    codex.answers['turn/steer'] = () => undefined;
    await codex.turn();
    const steered = codex.driver.steer('cmd_steer', { prompt: 'more' });
    codex.exit();
    expect(await steered).toEqual({ answer: 'unknown' });
  });

  test('an internal error passes: the next try is taken', async () => {
    codex.answers['turn/steer'] = () => new FakeRefusal(-32_603, 'oh');
    await codex.turn();
    expect(await codex.driver.steer('cmd_steer', { prompt: 'more' })).toEqual({ answer: 'notSteerable' });
    codex.answers['turn/steer'] = () => ({});
    expect(await codex.driver.steer('cmd_steer', { prompt: 'more' })).toEqual({ answer: 'accepted' });
  });
});

describe('a steer and a real Codex', { timeout: 40_000 }, () => {
  let rig: DriverRig;
  beforeEach(async () => {
    rig = await DriverRig.open('codex');
  });
  afterEach(() => rig.close());

  test.each([
    ['empty', ''],
    ['too long', 'x'.repeat(1_100_000)],
  ])('an input that it can never take (%s) is rejected in its words', async (_name, prompt) => {
    const driver = await rig.driver();
    await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
    await driver.prompt('cmd_one', { prompt: '[[scenario:sleep seconds=60]] sleep' });
    await rig.event('command_execution');
    expect(await driver.steer('cmd_steer', prompt === '' ? { input: [] } : { prompt })).toMatchObject({
      answer: 'rejected',
      reason: expect.stringMatching(/must not be empty|exceeds the maximum length/i),
    });
    expect(await driver.steer('cmd_next', { prompt: 'fits' })).toEqual({ answer: 'accepted' });
    expect(await driver.interrupt()).toBe(true);
    await rig.turnEnd();
  });
});
