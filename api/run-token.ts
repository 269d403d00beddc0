import type { RunnerIdentity } from '../store/runner-identity.js';
import type { ApiDeps } from './deps.js';

/** Adds a fresh run token to an answer for a runner. */
export async function withRunToken<Facts extends object>(
  deps: ApiDeps,
  runner: RunnerIdentity,
  facts: Facts,
): Promise<Facts & { runToken: string; runTokenExpiresAt: string }> {
  const { token, expiresAt } = await deps.runnerTokens.mintRun(runner);
  return { ...facts, runToken: token, runTokenExpiresAt: expiresAt };
}
