import { describe, expect, test } from 'vitest';
import { classifyCodexError, type ProviderFailureFacts } from '../../runner/drivers/codex/codex-errors.js';

type Info = ProviderFailureFacts['codexErrorInfo'];
const proxy = (status: number | null, errorCode: string | null = null, ended = 'complete') => ({
  status,
  errorCode,
  ended,
});

/** Rows of decisions.md "Provider errors", with the signals as agents.md 2.1 measured them. */
const rows: [string, Info, string, ProviderFailureFacts['proxy'], string, string][] = [
  [
    '401',
    { httpConnectionFailed: { httpStatusCode: 401 } },
    'unexpected status 401',
    proxy(401),
    'provider-auth',
    'both',
  ],
  ['403 seen by the proxy only', 'other', 'forbidden', proxy(403), 'provider-auth', 'proxy'],
  ['key missing', 'other', 'Missing environment variable: `X`', null, 'provider-auth', 'agent'],
  [
    '429',
    { responseTooManyFailedAttempts: { httpStatusCode: 429 } },
    'retry limit',
    proxy(429),
    'provider-rate-limited',
    'both',
  ],
  [
    'SSE rate limit',
    'rateLimitExceeded',
    'rate limit',
    proxy(200, 'rate_limit_exceeded'),
    'provider-rate-limited',
    'both',
  ],
  ['quota', 'usageLimitExceeded', 'Quota', proxy(429, 'insufficient_quota'), 'provider-quota', 'both'],
  ['quota as a status only', null, '', proxy(429, 'insufficient_quota'), 'provider-quota', 'proxy'],
  ['400', 'other', 'Invalid value', proxy(400), 'provider-rejected', 'proxy'],
  ['policy', 'cyberPolicy', 'no', null, 'provider-rejected', 'agent'],
  ['404', 'modelNotFound', 'no model', proxy(404, 'model_not_found'), 'model-not-found', 'both'],
  ['500', 'internalServerError', 'high demand', proxy(500), 'provider-unavailable', 'both'],
  [
    'refused',
    { httpConnectionFailed: { httpStatusCode: 502 } },
    'bad gateway',
    proxy(null, null, 'unreachable'),
    'provider-unavailable',
    'both',
  ],
  [
    'no status',
    { httpConnectionFailed: { httpStatusCode: null } },
    'connect',
    null,
    'provider-unavailable',
    'agent',
  ],
  ['503', 'serverOverloaded', 'capacity', proxy(503, 'server_is_overloaded'), 'provider-overloaded', 'both'],
  [
    'context',
    'contextWindowExceeded',
    'ran out of room',
    proxy(200, 'context_length_exceeded'),
    'context-window-exceeded',
    'both',
  ],
  [
    'stream cut',
    'other',
    'stream disconnected before completion: x',
    proxy(200, null, 'upstream-lost'),
    'provider-disconnected',
    'both',
  ],
  ['stream silent', 'other', 'idle timeout waiting for SSE', proxy(200), 'provider-disconnected', 'agent'],
  ['unknown', 'somethingNew', 'what', proxy(200), 'agent-error', 'none'],
  ['nothing known', null, '', null, 'agent-error', 'none'],
];

describe('classifyCodexError', () => {
  test.each(rows)('%s', (_name, codexErrorInfo, message, seen, failureKind, evidence) => {
    expect(classifyCodexError({ codexErrorInfo, message, proxy: seen })).toEqual({ failureKind, evidence });
  });
});
