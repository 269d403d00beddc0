import { internalUrlProblem } from './base-urls.js';
import type { Environment } from './read-env.js';
import { knownVariables } from './settings-index.js';

/** Variables of the old manager without an effect, and why. */
const retiredVariables: Readonly<Record<string, string>> = {
  AGENTRUN_ARTIFACT_CATALOG_FILE: 'is not taken over from the old manager and has no effect',
  unideskSshEndpointEnv: 'is not taken over from the old manager and has no effect',
  AGENTRUN_AIPOD_SPEC_DIR: 'has no effect yet: it comes with aipod specs',
};
/** Variables for our own tests: whoever starts a program with one of them knows what it does. */
const testVariable = /^AGENTRUN_TEST_/;

/** A variable that is set and does not do what somebody may hope for. */
export interface StartWarning {
  readonly variable: string;
  readonly message: string;
}

/**
 * What a program says once at its start about its environment: an internal URL that has a path, retired variables, and variables named `AGENTRUN_…`
 * that no program of ours reads. Only names, and URLs without credentials: never another value.
 */
export function startWarnings(env: Environment = process.env): StartWarning[] {
  const set = Object.keys(env).filter((name) => env[name]?.trim());
  const known = knownVariables();
  const warnings: StartWarning[] = set.flatMap((variable) => {
    const retired = retiredVariables[variable];
    if (retired !== undefined) return [{ variable, message: retired }];
    if (!variable.startsWith('AGENTRUN_') || known.has(variable) || testVariable.test(variable)) return [];
    return [{ variable, message: 'is not known to any program of this version and has no effect' }];
  });
  const problem = internalUrlProblem(env.AGENTRUN_INTERNAL_MGR_URL);
  return problem === undefined
    ? warnings
    : [...warnings, { variable: 'AGENTRUN_INTERNAL_MGR_URL', message: problem }];
}
