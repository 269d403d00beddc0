import { ConfigurationError, type ConfigurationProblem, type Environment } from './read-env.js';

/**
 * What stands in for a wrong setting without which nothing could be read, so that the others can be looked at all the same. What would be looked at
 * with one of these is left out by {@link isLookedAt}.
 */
const standIns: Readonly<Record<string, Environment>> = {
  DATABASE_URL: { DATABASE_URL: 'postgres://127.0.0.1:1/none' },
  DATABASE_URL_FILE: { DATABASE_URL: 'postgres://127.0.0.1:1/none' },
  AGENTRUN_RUNNER_KEYS_FILE: { AGENTRUN_RUNNER_KEYS_FILE: 'none' },
  AGENTRUN_API_TOKEN: { AGENTRUN_API_TOKEN: 'stands-in-for-a-token' },
  AGENTRUN_API_TOKEN_FILE: { AGENTRUN_API_TOKEN: 'stands-in-for-a-token' },
  AGENTRUN_OIDC_AUDIENCE: { AGENTRUN_OIDC_AUDIENCE: 'none' },
  // Without a provider the worker starts no runners.
  AGENTRUN_PROVIDER_BASE_URL: { AGENTRUN_LAUNCHER: 'external' },
  AGENTRUN_PROVIDER_KEY_FILE: { AGENTRUN_LAUNCHER: 'external' },
  AGENTRUN_MODEL: { AGENTRUN_LAUNCHER: 'external' },
  AGENTRUN_RUNNER_IMAGE: { AGENTRUN_LAUNCHER: 'external' },
};
/** Settings that are read in stages: wrong ones of the later show when those of the former are right. */
const mostStages = 5;

/** What could be read of a program's settings; `config` is missing when not even the rest can be read. */
export interface SettingsToCheck<Config> {
  readonly problems: readonly ConfigurationProblem[];
  readonly config: Config | undefined;
}

/** Reads settings as `read` does, and when some are wrong the others without those. */
export function settingsToCheck<Config>(
  read: (env: Environment) => Config,
  env: Environment = process.env,
): SettingsToCheck<Config> {
  const problems: ConfigurationProblem[] = [];
  let changed = env;
  for (let stage = 0; stage < mostStages; stage += 1) {
    try {
      return { problems, config: read(changed) };
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      // What stands in is refused itself: no more can be read.
      if (error.problems.some(({ variable }) => problems.some((known) => known.variable === variable))) break;
      for (const problem of error.problems) {
        problems.push(problem);
        changed = { ...changed, [problem.variable]: undefined, ...standIns[problem.variable] };
      }
    }
  }
  return { problems, config: undefined };
}

/** Whether a check that is about `variable` looks at what was set, and not at what stands in for it. */
export function isLookedAt(variable: string, problems: readonly ConfigurationProblem[]): boolean {
  const family = familyOf(variable);
  return !problems.some((problem) => familyOf(problem.variable) === family);
}

/** Settings that are one thing: an address of Temporal is of no use when its namespace is wrong. */
function familyOf(variable: string): string {
  if (variable.startsWith('TEMPORAL_')) return 'temporal';
  if (variable.startsWith('DATABASE_URL')) return 'database';
  return variable.endsWith('_MGR_URL') ? 'address' : variable;
}
