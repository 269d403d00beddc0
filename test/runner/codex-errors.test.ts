import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { providerEvidenceSchema } from '../../contract/commands.js';
import {
  classifyCodexError,
  type ProviderFailureFacts,
  providerEvidence,
} from '../../runner/drivers/codex/codex-errors.js';
import type { AgentDriver } from '../../runner/drivers/driver.js';
import { scenarioSchema } from '../../tools/scripted-model/scenario.js';
import { DriverRig } from './support/driver-rig.js';

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
  ['400', 'other', 'Invalid value', proxy(400), 'provider-rejected', 'both'],
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
  [
    'stream silent, cut by the proxy',
    { responseStreamDisconnected: { httpStatusCode: null } },
    'x',
    proxy(200, null, 'upstream-silent'),
    'provider-disconnected',
    'both',
  ],
  [
    'no answer at all',
    'internalServerError',
    'unexpected status 504',
    proxy(null, null, 'upstream-silent'),
    'provider-disconnected',
    'both',
  ],
  [
    'quota, where the agent has only the status',
    { responseTooManyFailedAttempts: { httpStatusCode: 429 } },
    'retry limit',
    proxy(429, 'insufficient_quota'),
    'provider-quota',
    'both',
  ],
  ['403', { httpConnectionFailed: { httpStatusCode: 403 } }, 'no', proxy(403), 'provider-auth', 'both'],
  ['403 with a general code', 'other', 'no', proxy(403, 'server_error'), 'provider-auth', 'proxy'],
  [
    'a general code in the stream',
    'other',
    'no',
    proxy(200, 'server_error'),
    'provider-unavailable',
    'proxy',
  ],
  ['unauthorized', 'unauthorized', 'no', null, 'provider-auth', 'agent'],
  ['session budget', 'sessionBudgetExceeded', 'spent', null, 'provider-quota', 'agent'],
  ['bad request', 'badRequest', 'no', proxy(400), 'provider-rejected', 'both'],
  ['flex', 'flexUnavailable', 'no', proxy(429, null), 'provider-overloaded', 'agent'],
  ['a status that the table does not name', 'other', 'I am a teapot', proxy(418), 'agent-error', 'none'],
  ['404 of the proxy only', 'other', 'not found', proxy(404), 'model-not-found', 'proxy'],
  [
    'a model that the proxy refuses',
    'modelNotFound',
    'no',
    proxy(null, 'model_not_found', 'refused-by-proxy'),
    'model-not-found',
    'both',
  ],
  [
    'the agent left a healthy stream',
    'sandboxError',
    'x',
    proxy(200, null, 'client-left'),
    'agent-error',
    'none',
  ],
  ['unknown', 'somethingNew', 'what', proxy(200), 'agent-error', 'none'],
  ['nothing known', null, '', null, 'agent-error', 'none'],
];

describe('classifyCodexError', () => {
  test.each(rows)('%s', (_name, codexErrorInfo, message, seen, failureKind, evidence) => {
    expect(classifyCodexError({ codexErrorInfo, message, proxy: seen })).toEqual({ failureKind, evidence });
  });
});

describe('providerEvidence', () => {
  const resetAtMs = Date.parse('2030-01-02T03:04:05.000Z');
  const facts = (codexErrorInfo: Info, seen: Partial<NonNullable<ProviderFailureFacts['proxy']>> | null) => ({
    codexErrorInfo,
    message: '',
    proxy: seen === null ? null : { status: 200, errorCode: null, ended: 'complete', resetAtMs, ...seen },
  });
  const of = (given: ProviderFailureFacts) => providerEvidence(given, classifyCodexError(given));

  test.each([
    [
      'quota with a reset time',
      facts('usageLimitExceeded', { status: 429, errorCode: 'insufficient_quota' }),
      {
        evidence: 'both',
        status: 429,
        errorCode: 'insufficient_quota',
        agentErrorInfo: 'usageLimitExceeded',
        resetAt: '2030-01-02T03:04:05.000Z',
      },
    ],
    [
      'quota without one',
      facts('usageLimitExceeded', { status: 429, errorCode: 'insufficient_quota', resetAtMs: null }),
      { resetAt: null },
    ],
    [
      'rate limit',
      facts('rateLimitExceeded', {}),
      { resetAt: '2030-01-02T03:04:05.000Z', evidence: 'agent' },
    ],
    ['a failure that no time cures', facts('other', { status: 400 }), { resetAt: null, evidence: 'both' }],
    [
      'the status of the agent, when the proxy saw none',
      facts({ httpConnectionFailed: { httpStatusCode: 401 } }, null),
      { status: 401, agentErrorInfo: 'httpConnectionFailed', errorCode: null, evidence: 'agent' },
    ],
  ])('%s', (_name, given, expected) => {
    expect(of(given)).toMatchObject(expected);
    expect(providerEvidenceSchema.safeParse(of(given)).success).toBe(true);
  });

  test('a failure in which the provider has no part has no evidence', () => {
    expect(of(facts('sandboxError', null))).toBeNull();
  });
});

/** The same through the scripted provider, the proxy and a real Codex: what a failed turn's outcome says. */
describe('the provider table with a real Codex', { timeout: 60_000 }, () => {
  let rig: DriverRig;
  let driver: AgentDriver;
  beforeAll(async () => {
    const failure = (name: string, fields: object) => ({
      name,
      steps: [{ failure: { ...fields }, text: 'x' }],
    });
    rig = await DriverRig.open('codex', {
      scenarios: [
        failure('forbidden', { kind: 'http', status: 403 }),
        failure('quota-later', { kind: 'insufficient_quota', retryAfterS: 120 }),
        failure('limited', { kind: 'rate_limited', retryAfterS: 1 }),
      ].map((scenario) => scenarioSchema.parse(scenario)),
    });
    driver = await rig.driver();
    await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
  });
  afterAll(() => rig.close());

  test.each([
    ['fail kind=unauthorized', 'provider-auth', 'both', 401, false],
    ['forbidden', 'provider-auth', 'both', 403, false],
    ['limited', 'provider-rate-limited', 'both', 429, true],
    ['fail kind=rate_limit_exceeded', 'provider-rate-limited', 'both', 200, false],
    ['fail kind=insufficient_quota', 'provider-quota', 'both', 429, false],
    ['quota-later', 'provider-quota', 'both', 429, true],
    ['fail kind=bad_request', 'provider-rejected', 'both', 400, false],
    ['fail kind=model_not_found', 'model-not-found', 'both', 404, false],
    ['fail kind=server_error', 'provider-unavailable', 'both', 500, false],
    ['fail kind=server_overloaded', 'provider-overloaded', 'both', 503, false],
    ['fail kind=context_length_exceeded', 'context-window-exceeded', 'both', 200, false],
    ['fail kind=stream_cut', 'provider-disconnected', 'both', 200, false],
  ] as const)('%s', async (scenario, failureKind, evidence, status, reset) => {
    rig.ends.length = 0;
    // As the supervisor does for each turn.
    rig.proxy.openTurn();
    const before = Date.now();
    await driver.prompt('cmd_one', { prompt: `[[scenario:${scenario}]] go` });
    const end = await rig.turnEnd();
    expect(end).toMatchObject({ status: 'failed', failureKind, provider: { evidence, status } });
    const resetAt = end?.provider?.resetAt ?? null;
    if (reset) expect(Date.parse(resetAt ?? '')).toBeGreaterThan(before);
    else expect(resetAt).toBeNull();
  });
});
