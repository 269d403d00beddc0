import { z } from 'zod';
import { keyProblem, labelValueProblem } from '../../domain/kubernetes/names.js';
import { ConfigurationError, type ConfigurationProblem } from './read-env.js';
import { integerSetting } from './setting-types.js';

const cleanupOrder = 'oldest-inactive-last-active-first';
/** That every Job of a runner begins with. */
const jobNamePrefix = 'agentrun-';
const hourMs = 3_600_000;
const text = z.string().optional();

/** The variables of runner retention (contract.md 8.3); {@link runnerRetention} reads them. All are looked at when the first is set, and only then. */
export const retentionVariables = {
  AGENTRUN_RUNNER_RETENTION_MAX_RUNNERS: text.describe(
    'How many Jobs of runners are kept; inactive ones above that are deleted. Not set: there is no retention, and the other settings of it are not looked at.',
  ),
  AGENTRUN_RUNNER_RETENTION_ACTIVE_HEARTBEAT_MAX_AGE_MS: text.describe(
    'A runner that was heard of within this time is active and never deleted. Needed with retention.',
  ),
  AGENTRUN_RUNNER_RETENTION_CLEANUP_ORDER: text.describe(`Only \`${cleanupOrder}\`, which is the default.`),
  AGENTRUN_RUNNER_RETENTION_JOB_NAME_PREFIXES: text.describe(
    'Prefixes of the names of Jobs that count, divided by commas. Needed with retention; a comma alone means `agentrun-`, with which all begin.',
  ),
  AGENTRUN_RUNNER_RETENTION_MATCH_LABELS_JSON: text.describe(
    'JSON object of labels that Jobs must have to count, beside the labels that AgentRun gives; `{}` asks for no more. Needed with retention.',
  ),
  AGENTRUN_RUNNER_RETENTION_AGE_BASED_CLEANUP_ENABLED: text.describe(
    'true or false: whether inactive runners are deleted by age too. Not set: false.',
  ),
  AGENTRUN_RUNNER_RETENTION_AGE_BASED_MAX_AGE_HOURS: text.describe(
    'How long ago an inactive runner may have been active last. Needed with clean-up by age.',
  ),
};
const schema = z.object(retentionVariables);
type Variable = keyof typeof retentionVariables;

/** Which runners' Jobs are kept. */
export interface RetentionSettings {
  readonly maxRunners: number;
  readonly activeHeartbeatMaxAgeMs: number;
  readonly jobNamePrefixes: readonly string[];
  readonly matchLabels: Readonly<Record<string, string>>;
  /** Undefined: age alone removes none. */
  readonly maxAgeMs: number | undefined;
}

const positive = integerSetting({ min: 1, max: 1_000_000_000 });
const rules = {
  AGENTRUN_RUNNER_RETENTION_MAX_RUNNERS: positive,
  AGENTRUN_RUNNER_RETENTION_ACTIVE_HEARTBEAT_MAX_AGE_MS: positive,
  AGENTRUN_RUNNER_RETENTION_CLEANUP_ORDER: z
    .literal(cleanupOrder, { error: `expected ${cleanupOrder}` })
    .default(cleanupOrder),
  AGENTRUN_RUNNER_RETENTION_JOB_NAME_PREFIXES: z.string().transform((list, context) => {
    const prefixes = list
      .split(',')
      .map((prefix) => prefix.trim())
      .filter((prefix) => prefix !== '');
    if (prefixes.every((prefix) => /^[a-z0-9][a-z0-9-]{0,62}$/.test(prefix)))
      return prefixes.length === 0 ? [jobNamePrefix] : prefixes;
    context.addIssue({ code: 'custom', message: 'expected beginnings of names, divided by commas' });
    return z.NEVER;
  }),
  AGENTRUN_RUNNER_RETENTION_MATCH_LABELS_JSON: z.string().transform((json, context) => {
    const labels = labelsSchema.safeParse(parsedJson(json));
    if (labels.success) return labels.data;
    context.addIssue({ code: 'custom', message: 'expected a JSON object of labels: text to text' });
    return z.NEVER;
  }),
  AGENTRUN_RUNNER_RETENTION_AGE_BASED_CLEANUP_ENABLED: z
    .enum(['true', 'false'], { error: 'expected true or false' })
    .default('false'),
  AGENTRUN_RUNNER_RETENTION_AGE_BASED_MAX_AGE_HOURS: positive.optional(),
} satisfies Record<Variable, z.ZodType>;
const strictSchema = z.object(rules);

const labelsSchema = z
  .record(z.string(), z.string().min(1))
  .refine((labels) =>
    Object.entries(labels).every(
      ([key, value]) => keyProblem(key) === undefined && labelValueProblem(value) === undefined,
    ),
  );

/**
 * The retention that a process is told; undefined: none.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function runnerRetention(read: z.output<typeof schema>): RetentionSettings | undefined {
  if (read.AGENTRUN_RUNNER_RETENTION_MAX_RUNNERS === undefined) return undefined;
  const checked = strictSchema.safeParse(read);
  if (!checked.success) {
    throw new ConfigurationError(
      checked.error.issues.map(({ path, message }): ConfigurationProblem => {
        const variable = path.map(String).join('.');
        const isSet = Object.entries(read).some(([name, value]) => name === variable && value !== undefined);
        return { variable, expected: isSet ? message : 'is not set (needed with runner retention)' };
      }),
    );
  }
  const settings = checked.data;
  const isByAge = settings.AGENTRUN_RUNNER_RETENTION_AGE_BASED_CLEANUP_ENABLED === 'true';
  const maxAgeHours = settings.AGENTRUN_RUNNER_RETENTION_AGE_BASED_MAX_AGE_HOURS;
  if (isByAge && maxAgeHours === undefined) {
    throw new ConfigurationError([
      {
        variable: 'AGENTRUN_RUNNER_RETENTION_AGE_BASED_MAX_AGE_HOURS',
        expected: 'is not set (needed with clean-up by age)',
      },
    ]);
  }
  return {
    maxRunners: settings.AGENTRUN_RUNNER_RETENTION_MAX_RUNNERS,
    activeHeartbeatMaxAgeMs: settings.AGENTRUN_RUNNER_RETENTION_ACTIVE_HEARTBEAT_MAX_AGE_MS,
    jobNamePrefixes: settings.AGENTRUN_RUNNER_RETENTION_JOB_NAME_PREFIXES,
    matchLabels: settings.AGENTRUN_RUNNER_RETENTION_MATCH_LABELS_JSON,
    maxAgeMs: isByAge && maxAgeHours !== undefined ? maxAgeHours * hourMs : undefined,
  };
}

/** Undefined for what is no JSON. */
function parsedJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
