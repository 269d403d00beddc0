import { describe, expect, test } from 'vitest';
import { outcomeSchema } from '../../contract/commands.js';
import type { TurnEnd } from '../../runner/drivers/driver.js';
import { attemptOutcome, type Interference } from '../../runner/supervisor/attempt-outcome.js';

const none: Interference = { cancelRequested: false, cancelReason: null, stopping: false };
const completed: TurnEnd = { status: 'completed', failureKind: null, message: null, turnId: 't' };
const interrupted: TurnEnd = { ...completed, status: 'interrupted' };
const provider = {
  evidence: 'both',
  status: 429,
  errorCode: 'rate_limit KEY',
  agentErrorInfo: 'responseTooManyFailedAttempts',
  resetAt: '2026-01-01T00:00:00.000Z',
} as const;
const failed: TurnEnd = {
  status: 'failed',
  failureKind: 'provider-rate-limited',
  message: 'slow down KEY',
  turnId: 't',
  provider,
};
const redact = (text: string): string => text.replaceAll('KEY', '[redacted]');

describe('the outcome of an attempt', () => {
  test.each<[string, TurnEnd, Partial<Interference>, string]>([
    ['completed', completed, {}, 'completed null'],
    ['completed, the cancel came too late', completed, { cancelRequested: true }, 'completed null'],
    ['completed, the stop came too late', completed, { stopping: true }, 'completed null'],
    ['cancelled', interrupted, { cancelRequested: true, stopping: true }, 'cancelled cancelled'],
    ['failed while cancelled', failed, { cancelRequested: true }, 'cancelled cancelled'],
    ['stopped', interrupted, { stopping: true }, 'failed runner-evicted'],
    ['failed', failed, {}, 'failed provider-rate-limited'],
    ['interrupted by itself', interrupted, {}, 'failed agent-error'],
  ])('%s', (_name, end, interference, expected) => {
    const outcome = outcomeSchema.parse(attemptOutcome(end, { ...none, ...interference }, 'thread', redact));
    expect(`${outcome.terminalStatus} ${outcome.failureKind}`).toBe(expected);
    expect(outcome).toMatchObject({ threadId: 'thread', turnId: 't' });
  });

  test('carries the evidence of the provider, and no secret', () => {
    const outcome = attemptOutcome(failed, none, null, redact);
    expect(outcome.provider).toEqual({ ...provider, errorCode: 'rate_limit [redacted]' });
    expect(JSON.stringify(outcome)).not.toContain('KEY');
    const cancelled = attemptOutcome(
      interrupted,
      { ...none, cancelRequested: true, cancelReason: 'because of KEY' },
      null,
      redact,
    );
    expect(cancelled.failureMessage).toBe('because of [redacted]');
  });

  test('is redacted before it is cut', () => {
    const message = `${'x'.repeat(3_998)}KEY`;
    expect(attemptOutcome({ ...failed, message }, none, null, redact).failureMessage).not.toContain('KE');
  });
});

test('what Postgres cannot store is replaced, also what a cut leaves', () => {
  const redact = (text: string): string => text;
  const interference = { cancelRequested: false, cancelReason: null, stopping: false };
  const message = `a\u0000b\ud800c\udc00 \u{1f600} ${'x'.repeat(3_989)}\u{1f600}`;
  const provider = {
    evidence: 'agent' as const,
    status: null,
    errorCode: 'e\u0000',
    agentErrorInfo: '\udfff',
    resetAt: null,
  };
  const end = { status: 'failed' as const, failureKind: null, message, turnId: null, provider };
  const outcome = attemptOutcome(end, interference, null, redact);
  expect(outcome.failureMessage?.startsWith('a\ufffdb\ufffdc\ufffd \u{1f600} x')).toBe(true);
  expect(outcome.failureMessage).not.toMatch(/\p{Surrogate}/u);
  expect(outcome.failureMessage?.at(-1)).toBe('\ufffd');
  expect(outcome.provider).toMatchObject({ errorCode: 'e\ufffd', agentErrorInfo: '\ufffd' });
  const cancelled = { ...interference, cancelRequested: true, cancelReason: '\u0000' };
  expect(attemptOutcome(end, cancelled, null, redact).failureMessage).toBe('\ufffd');
});
