import { describe, expect, test } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import type { Outcome } from '../../contract/commands.js';
import type { OutcomeAnswer } from '../../runner/supervisor/manager-api.js';
import { reportOutcome } from '../../runner/supervisor/outcome-report.js';
import { FakeManager } from './support/fake-manager.js';

const manager = new FakeManager();
const { run } = manager.run(manager.addRun('hello')).assignment;
const stored: OutcomeAnswer = { run, outcome: {}, runnerState: 'idle', idleUntil: null };
const failed: Outcome = {
  terminalStatus: 'failed',
  failureKind: 'provider-auth',
  failureMessage: 'words',
  threadId: 'thread',
  turnId: 'turn',
};
const refusal = (status: number, failureKind: string) => new ApiError({ status, failureKind, message: 'no' });

async function report(answers: (Error | OutcomeAnswer)[], flushes: boolean[] = []) {
  const sent: Outcome[] = [];
  const giveUp = new AbortController();
  const result = await reportOutcome({
    api: {
      finish: (outcome) => {
        sent.push(outcome);
        const answer = answers.shift();
        if (answer === undefined) giveUp.abort();
        return answer instanceof Error || answer === undefined
          ? Promise.reject(answer ?? new Error('given up'))
          : Promise.resolve(answer);
      },
    },
    uploader: { complete: () => Promise.resolve(flushes.shift() ?? true) },
    outcome: failed,
    signal: giveUp.signal,
    log: { warn: () => undefined },
  });
  return { result, sent };
}

describe('the report of an outcome', () => {
  test('waits for the last event and the completion line', async () => {
    const flushes = [false, false, true];
    const { result, sent } = await report([stored], flushes);
    expect([result, sent, flushes]).toEqual(['idle', [failed], []]);
  });

  test.each([404, 403, 409, 400, 502])('HTTP %i without our envelope is repeated', async (status) => {
    const { result, sent } = await report([refusal(status, `http-${status}`), stored]);
    expect([result, sent]).toEqual(['idle', [failed, failed]]);
  });

  test.each([
    new ConnectionError('network', 'away'),
    refusal(503, 'unavailable'),
    refusal(401, 'unauthorized'),
    refusal(429, 'rate-limited'),
  ])('what passes is repeated: %s', async (error) => {
    expect((await report([error, stored])).result).toBe('idle');
  });

  test.each([
    [409, 'conflict'],
    [404, 'not-found'],
    [403, 'forbidden'],
  ])('%i %s of the API is final, and no report', async (status, failureKind) => {
    const { result, sent } = await report([refusal(status, failureKind)]);
    expect([result, sent.length]).toEqual(['refused', 1]);
  });

  test('fenced', async () => {
    expect((await report([refusal(409, 'fenced')])).result).toBe('fenced');
  });

  test('one that does not fit is reported once more, with its kind', async () => {
    const unfit = refusal(400, 'schema-invalid');
    const { result, sent } = await report([unfit, stored]);
    expect(result).toBe('idle');
    expect(sent[1]).toEqual({
      terminalStatus: 'failed',
      failureKind: 'provider-auth',
      failureMessage: 'the message of this failure could not be stored',
      threadId: 'thread',
    });
    expect((await report([unfit, unfit])).result).toBe('refused');
  });
});
