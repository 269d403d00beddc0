import { describe, expect, it } from 'vitest';
import { explainError, StackNotReadyError, UsageError } from '../../cli/explain-error.js';
import { ApiError, ConnectionError } from '../../client/index.js';
import { ConfigurationError } from '../../infra/config/read-env.js';

describe('explainError', () => {
  it('hands the details of an API error to a program', () => {
    const details = { outcome: 'unknown', idempotencyKey: 'k1' };
    const error = new ApiError({ status: 503, failureKind: 'unavailable', message: 'not yet', details });
    expect(explainError(error)).toEqual({
      text: 'unavailable: not yet',
      report: { failureKind: 'unavailable', status: 503, message: 'not yet', details },
      code: 5,
    });
  });

  it('names a wrong field as the command line does', () => {
    const error = new ApiError({
      status: 400,
      failureKind: 'schema-invalid',
      message: 'whenBusy: expected "steer" (received string); labels: expected object (received null)',
      details: {
        issues: [
          { path: 'whenBusy', expected: '"steer"', received: 'string' },
          { path: 'labels', expected: 'object', received: 'null' },
        ],
      },
    });
    const { text, code } = explainError(error, { optionNames: { whenBusy: '--when-busy' } });
    expect(text).toBe(
      'schema-invalid: --when-busy: expected "steer"; labels: expected object (received null)',
    );
    expect(code).toBe(2);
  });

  it('names the option of a list, and a wrong field once', () => {
    const issue = (path: string, expected: string) => ({ path, expected, received: 'string' });
    const error = new ApiError({
      status: 400,
      failureKind: 'schema-invalid',
      message: '',
      details: {
        issues: [issue('url', 'an https:// URL'), issue('url', 'another'), issue('events.0', '"run.failed"')],
      },
    });
    expect(explainError(error, { optionNames: { url: '<url>', events: '--event' } }).text).toBe(
      'schema-invalid: <url>: expected an https:// URL; --event: expected "run.failed"',
    );
  });

  it.each([
    { message: 'session s1 does not exist', hinted: true },
    {
      message: 'session s1 does not exist; create it or send run.tenantId and run.projectId',
      hinted: true,
    },
    { message: 'session s10 does not exist', hinted: false },
    { message: 'run run_1 does not exist', hinted: false },
  ])('says how to create a session only when it is the session that is missing: $message', (row) => {
    const error = new ApiError({ status: 404, failureKind: 'not-found', message: row.message });
    const { text, code } = explainError(error, { sessionToCreate: 's1' });
    expect(text.split('\n').slice(1)).toEqual(
      row.hinted ? ['create it: agentrun session create --id s1'] : [],
    );
    expect(text).not.toContain('run.tenantId');
    expect(explainError(error).text).not.toContain('agentrun session create');
    expect(code).toBe(4);
  });

  it.each([
    { error: new ConnectionError('network', 'no connection'), message: 'no connection; why', code: 5 },
    { error: new ConnectionError('invalid-answer', 'odd'), message: 'odd', code: 5 },
    { error: new StackNotReadyError('starting'), message: 'starting', code: 5 },
    { error: new UsageError('--after: no'), message: '--after: no', code: 2 },
    {
      error: new ConfigurationError([{ variable: 'X', expected: 'is not set' }]),
      message: 'Wrong configuration:\n  X: is not set',
      code: 2,
    },
    { error: new Error('boom'), message: 'boom', code: 1 },
  ])('$error.name: $message', ({ error, message, code }) => {
    const explained = explainError(error, { connectionHint: () => 'why' });
    expect(explained).toMatchObject({ text: message, report: { status: null, message }, code });
  });
});
