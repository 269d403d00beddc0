import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { finalErrors, refusalOf } from '../../activities/final-errors.js';
import { AgentRunError } from '../../contract/errors.js';

function databaseError(code: string): pg.DatabaseError {
  const error = new pg.DatabaseError('value "secret prompt" is wrong', 0, 'error');
  error.code = code;
  return error;
}

const unreadable = z
  .object({ policy: z.object({ leaseMs: z.number() }) })
  .safeParse({ policy: { leaseMs: 'secret prompt' } }).error;

describe('refusalOf', () => {
  it.each([
    ['data exception', databaseError('22P05'), 'infra-failed'],
    ['constraint', databaseError('23505'), 'infra-failed'],
    ['unknown column', databaseError('42703'), 'infra-failed'],
    ['a record that cannot be read', unreadable, 'infra-failed'],
    ['refusal of ours', new AgentRunError('conflict', 'it has ended'), 'conflict'],
    ['deadlock', databaseError('40P01'), undefined],
    ['statement timeout', databaseError('57014'), undefined],
    ['lock timeout', databaseError('55P03'), undefined],
    ['server shuts down', databaseError('57P01'), undefined],
    ['connection', new Error('connect ECONNREFUSED'), undefined],
    ['store away', new AgentRunError('unavailable', 'try later'), undefined],
  ])('%s: %s', (_name, error, type) => {
    expect(refusalOf('writeAttempt', error)?.type).toBe(type);
  });

  it('says where a record cannot be read, never what is in it', () => {
    expect(refusalOf('openTurn', unreadable)?.message).toBe(
      'the records for openTurn cannot be read (policy.leaseMs: invalid_type)',
    );
  });

  it('says the step and the code, never what Postgres says about values', () => {
    expect(refusalOf('writeAttempt', databaseError('22P05'))?.message).toBe(
      'Postgres refused writeAttempt (SQLSTATE 22P05)',
    );
  });
});

describe('finalErrors', () => {
  it.each([
    [
      'a refusal of ours is expected',
      new AgentRunError('session-busy', 'a turn is active'),
      'BENIGN',
      'INFO',
    ],
    ['what Postgres refuses is not', databaseError('22P05'), undefined, 'WARN'],
  ])('%s: neither is tried again', async (_name, refused, category, level) => {
    const levels: string[] = [];
    const environment = new MockActivityEnvironment(
      {},
      { logger: new DefaultLogger('TRACE', (entry) => levels.push(entry.level)) },
    );
    const failure: unknown = await environment
      .run(() => finalErrors('beginDeletion', () => Promise.reject(refused)))
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect(failure).toMatchObject({ nonRetryable: true, category });
    // The warnings of Temporal about an activity that failed are left out for benign ones.
    expect(levels.filter((one) => one === 'WARN' || one === 'INFO')).toContain(level);
    expect(levels.includes('WARN')).toBe(level === 'WARN');
  });
});
