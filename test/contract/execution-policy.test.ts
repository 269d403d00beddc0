import { describe, expect, it } from 'vitest';
import { executionPolicyInputSchema, executionPolicySchema } from '../../contract/execution-policy.js';

describe('the execution policy', () => {
  it('keeps what a caller left out left out, so that the session’s value holds', () => {
    expect(executionPolicyInputSchema.parse({})).toEqual({});
    expect(executionPolicyInputSchema.parse({ maxAttempts: 1 })).toEqual({ maxAttempts: 1 });
    const session = { approvalPolicy: 'untrusted', hardTimeoutMs: 20_000_000 };
    const run = executionPolicyInputSchema.parse({ maxAttempts: 1 });
    expect(executionPolicySchema.parse({ ...session, ...run })).toMatchObject({ ...session, maxAttempts: 1 });
  });

  it('has a default for each limit', () => {
    expect(Object.keys(executionPolicySchema.parse({})).toSorted()).toEqual(
      Object.keys(executionPolicyInputSchema.shape).toSorted(),
    );
  });
});
