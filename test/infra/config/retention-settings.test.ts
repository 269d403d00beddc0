import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigurationError, parseEnvironment } from '../../../infra/config/read-env.js';
import {
  type RetentionSettings,
  retentionVariables,
  runnerRetention,
} from '../../../infra/config/retention-settings.js';

const prefix = 'AGENTRUN_RUNNER_RETENTION_';
const needed = {
  MAX_RUNNERS: '20',
  ACTIVE_HEARTBEAT_MAX_AGE_MS: '120000',
  JOB_NAME_PREFIXES: 'agentrun-, older-',
  MATCH_LABELS_JSON: '{"agentrun.dev/lane":"v0.1"}',
};
const settings = z.object(retentionVariables);

function read(given: Record<string, string>): RetentionSettings | undefined {
  const env = Object.fromEntries(Object.entries(given).map(([name, value]) => [`${prefix}${name}`, value]));
  return runnerRetention(parseEnvironment(settings, env));
}

function problemsOf(given: Record<string, string>): string[] {
  try {
    read(given);
  } catch (error) {
    if (error instanceof ConfigurationError)
      return error.problems.map(({ variable, expected }) => `${variable.slice(prefix.length)} ${expected}`);
    throw error;
  }
  return [];
}

describe('the settings of runner retention', () => {
  it('are none when the number is not set, whatever the others say', () => {
    expect(read({})).toBeUndefined();
    expect(
      read({ ...needed, MAX_RUNNERS: ' ', CLEANUP_ORDER: 'youngest', MATCH_LABELS_JSON: '{' }),
    ).toBeUndefined();
  });

  it('are read as the old manager read them', () => {
    expect(read(needed)).toEqual({
      maxRunners: 20,
      activeHeartbeatMaxAgeMs: 120_000,
      jobNamePrefixes: ['agentrun-', 'older-'],
      matchLabels: { 'agentrun.dev/lane': 'v0.1' },
      maxAgeMs: undefined,
    });
    const byAge = { AGE_BASED_CLEANUP_ENABLED: 'true', AGE_BASED_MAX_AGE_HOURS: '48' };
    expect(
      read({
        ...needed,
        ...byAge,
        JOB_NAME_PREFIXES: ',',
        MATCH_LABELS_JSON: '{}',
        CLEANUP_ORDER: 'oldest-inactive-last-active-first',
      }),
    ).toMatchObject({ jobNamePrefixes: ['agentrun-'], matchLabels: {}, maxAgeMs: 48 * 3_600_000 });
    expect(read({ ...needed, AGE_BASED_MAX_AGE_HOURS: '48' })).toMatchObject({ maxAgeMs: undefined });
  });

  it('are wrong all at once, each by name', () => {
    expect(problemsOf({ MAX_RUNNERS: '20' })).toEqual([
      'ACTIVE_HEARTBEAT_MAX_AGE_MS is not set (needed with runner retention)',
      'JOB_NAME_PREFIXES is not set (needed with runner retention)',
      'MATCH_LABELS_JSON is not set (needed with runner retention)',
    ]);
  });

  it.each([
    ['MAX_RUNNERS', '0', /whole number from 1/],
    ['MAX_RUNNERS', 'many', /whole number/],
    ['ACTIVE_HEARTBEAT_MAX_AGE_MS', '-1', /whole number from 1/],
    ['CLEANUP_ORDER', 'newest-first', /expected oldest-inactive-last-active-first/],
    ['JOB_NAME_PREFIXES', 'Agent_', /beginnings of names/],
    ['MATCH_LABELS_JSON', '{', /JSON object of labels/],
    ['MATCH_LABELS_JSON', '["a"]', /JSON object of labels/],
    ['MATCH_LABELS_JSON', '{"a":1}', /JSON object of labels/],
    ['MATCH_LABELS_JSON', '{"a":""}', /JSON object of labels/],
    ['MATCH_LABELS_JSON', '{"a":"b,c!=d"}', /JSON object of labels/],
    ['AGE_BASED_CLEANUP_ENABLED', 'yes', /expected true or false/],
    ['AGE_BASED_CLEANUP_ENABLED', 'true', /AGE_BASED_MAX_AGE_HOURS is not set/],
    ['AGE_BASED_MAX_AGE_HOURS', '1.5', /whole number/],
  ])('%s may not be %s', (name, value, expected) => {
    expect(problemsOf({ ...needed, [name]: value })).toEqual([expect.stringMatching(expected)]);
  });
});
