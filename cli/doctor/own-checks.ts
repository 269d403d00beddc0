import { type ApiClient, ApiError, ConnectionError, noRetry } from '../../client/index.js';
import type { CheckResult } from '../../contract/doctor.js';
import { routes } from '../../contract/routes/index.js';
import { ConfigurationError } from '../../infra/config/read-env.js';
import { findApi } from '../api-access.js';

const limitMs = 3_000;

/** What the command itself needs: the URL of the API, and a token that it takes. */
export async function ownChecks(): Promise<CheckResult[]> {
  let access: { client: ApiClient; apiUrl: string };
  try {
    access = findApi();
  } catch (error) {
    if (error instanceof ConfigurationError) {
      return error.problems.map(({ variable, expected }) =>
        wrong(
          'settings',
          variable,
          `${variable}: ${expected}`,
          `set ${variable}, or start the local stack (agentrun up)`,
        ),
      );
    }
    const message = error instanceof Error ? error.message : String(error);
    return [wrong('settings', 'AGENTRUN_MGR_URL', message, 'try again in a moment')];
  }
  return [await tokenCheck(access)];
}

async function tokenCheck({ client, apiUrl }: { client: ApiClient; apiUrl: string }): Promise<CheckResult> {
  const name = 'API and token';
  try {
    const who = await client.call(routes.whoami, {}, { timeoutMs: limitMs, retry: noRetry });
    return {
      program: 'command',
      name,
      ok: true,
      severity: null,
      message: `${apiUrl} takes the token${who.name === null ? '' : ` ${who.name}`} (${who.scopes.join(', ')})`,
      cure: null,
      variable: null,
    };
  } catch (error) {
    return refusal(name, apiUrl, error);
  }
}

function refusal(name: string, apiUrl: string, error: unknown): CheckResult {
  if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
    return wrong(
      name,
      'AGENTRUN_API_TOKEN',
      `the API at ${apiUrl} refuses the token: ${error.message}`,
      'set AGENTRUN_API_TOKEN (or AGENTRUN_API_TOKEN_FILE) to a token that this API knows',
    );
  }
  if (error instanceof ApiError && error.failureKind === 'route-not-found') {
    return wrong(
      name,
      'AGENTRUN_MGR_URL',
      `the AgentRun API answers at ${apiUrl}, but not below this path`,
      'correct the path of AGENTRUN_MGR_URL',
    );
  }
  const isForeign =
    (error instanceof ApiError && error.failureKind.startsWith('http-')) ||
    (error instanceof ConnectionError && error.reason === 'invalid-answer');
  const message = error instanceof Error ? error.message : String(error);
  return wrong(
    name,
    'AGENTRUN_MGR_URL',
    isForeign ? `what answers at ${apiUrl} is not the AgentRun API (${message})` : `${message} at ${apiUrl}`,
    'start the API (agentrun up), or correct AGENTRUN_MGR_URL',
  );
}

const wrong = (name: string, variable: string, message: string, cure: string): CheckResult => ({
  program: 'command',
  name,
  ok: false,
  severity: 'error',
  message,
  cure,
  variable,
});
