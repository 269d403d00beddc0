import type { z } from 'zod';

/** What `process.env` looks like: every value a string, absent ones undefined. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** One wrong variable: its name and what was expected. Never its value, which may be a secret. */
export interface ConfigurationProblem {
  readonly variable: string;
  readonly expected: string;
}

/**
 * The settings of a process are wrong. The message names every wrong variable and what was expected of it; a `main`
 * prints it and ends with exit code 2.
 */
export class ConfigurationError extends Error {
  readonly problems: readonly ConfigurationProblem[];

  constructor(problems: readonly ConfigurationProblem[]) {
    const lines = problems.map((problem) => `  ${problem.variable}: ${problem.expected}`);
    super(['Wrong configuration:', ...lines].join('\n'));
    this.name = 'ConfigurationError';
    this.problems = problems;
  }
}

/**
 * Reads one process's settings from its environment, with all errors at once. A blank value counts as unset, so
 * `PORT=` in a compose file means the default. Variables that the schema does not name are ignored.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function parseEnvironment<Schema extends z.ZodType>(
  schema: Schema,
  env: Environment,
): z.output<Schema> {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => !isBlank(value)));
  const result = schema.safeParse(set);
  if (result.success) return result.data;
  throw new ConfigurationError(
    result.error.issues.map((issue) => {
      const variable = issue.path.map(String).join('.') || 'environment';
      return { variable, expected: isBlank(env[variable]) ? 'is not set' : issue.message };
    }),
  );
}

function isBlank(value: string | undefined): boolean {
  return value === undefined || value.trim() === '';
}
