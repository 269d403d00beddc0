import { readFileSync } from 'node:fs';
import { type ApiClient, createApiClient } from '../client/index.js';
import { readCliConfig } from '../infra/config/cli-config.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { readStackFile } from './stack/stack-file.js';

/** The API that a command talks to, and the data folder that holds its cursors. */
export interface ApiAccess {
  readonly client: ApiClient;
  readonly apiUrl: string;
  readonly dataDir: string;
}

/**
 * Finds the API: AGENTRUN_MGR_URL with AGENTRUN_API_TOKEN, else the local stack of the data folder.
 *
 * @throws ConfigurationError when neither is there.
 */
export function findApi(): ApiAccess {
  const config = readCliConfig();
  const stack = readStackFile(config.dataDir);
  const apiUrl = config.apiUrl ?? stack?.apiUrl;
  if (apiUrl === undefined) {
    throw new ConfigurationError([
      {
        variable: 'AGENTRUN_MGR_URL',
        expected: 'is not set, and no local stack was ever started here (agentrun up)',
      },
    ]);
  }
  const token = config.apiToken ?? (stack === undefined ? undefined : localToken(stack.apiTokenFile));
  if (token === undefined) {
    throw new ConfigurationError([
      { variable: 'AGENTRUN_API_TOKEN', expected: 'is not set (or AGENTRUN_API_TOKEN_FILE)' },
    ]);
  }
  return {
    client: createApiClient({ baseUrl: apiUrl, token: () => token }),
    apiUrl,
    dataDir: config.dataDir,
  };
}

function localToken(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}
