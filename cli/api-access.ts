import { readFileSync } from 'node:fs';
import { type ApiClient, createApiClient } from '../client/index.js';
import { readCliConfig } from '../infra/config/cli-config.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { StackNotReadyError } from './explain-error.js';
import type { Output } from './output.js';
import { localStackState } from './stack/stack-file.js';
import { tellRepeats } from './waiting-remarks.js';

/** The API that a command talks to, and the data folder that holds its cursors. */
export interface ApiAccess {
  readonly client: ApiClient;
  readonly apiUrl: string;
  readonly dataDir: string;
}

/**
 * Finds the API: AGENTRUN_MGR_URL with AGENTRUN_API_TOKEN, else the local stack of the data folder. A token of a file is read anew for each request:
 * it may be rotated. With an `output`, that a request is repeated is said there, once.
 *
 * @throws ConfigurationError when neither is there; StackNotReadyError while the local stack starts.
 */
export function findApi(output?: Pick<Output, 'remark'>): ApiAccess {
  const config = readCliConfig();
  const state = localStackState(config.dataDir);
  if (config.apiUrl === undefined && state.kind === 'starting') {
    throw new StackNotReadyError(`${startingText(state.pid)}; try again in a moment`);
  }
  const stack = state.kind === 'running' || state.kind === 'stopped' ? state.stack : undefined;
  const apiUrl = config.apiUrl ?? stack?.apiUrl;
  if (apiUrl === undefined) {
    throw new ConfigurationError([
      {
        variable: 'AGENTRUN_MGR_URL',
        expected: 'is not set, and no local stack was ever started here (agentrun up)',
      },
    ]);
  }
  const readToken = () =>
    readCliConfig().apiToken ?? (stack === undefined ? undefined : localToken(stack.apiTokenFile));
  if (readToken() === undefined) {
    throw new ConfigurationError([
      { variable: 'AGENTRUN_API_TOKEN', expected: 'is not set (or AGENTRUN_API_TOKEN_FILE)' },
    ]);
  }
  return {
    client: createApiClient({
      baseUrl: apiUrl,
      token: () => readToken() ?? '',
      ...(output === undefined ? {} : { log: tellRepeats(output) }),
    }),
    apiUrl,
    dataDir: config.dataDir,
  };
}

/** Why the API may be out of reach, for an error line. */
export function connectionHint(): string {
  const config = readCliConfig();
  if (config.apiUrl !== undefined) return `AGENTRUN_MGR_URL is ${config.apiUrl}`;
  const state = localStackState(config.dataDir);
  switch (state.kind) {
    case 'running':
      return `the local stack runs (pid ${state.stack.pid}), but its API at ${state.stack.apiUrl} does not answer`;
    case 'starting':
      return startingText(state.pid);
    case 'stopped':
    case 'never-started':
      return 'the local stack is not running: agentrun up';
  }
}

const startingText = (pid: number) => `the local stack is still starting (pid ${pid})`;

function localToken(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}
