import type { Check, CheckResult } from '../contract/doctor.js';
import { type ApiConfig, readApiConfig } from '../infra/config/api-config.js';
import { normalPathPrefix } from '../infra/config/base-urls.js';
import { packageRoot } from '../infra/config/package-root.js';
import type { ConfigurationProblem } from '../infra/config/read-env.js';
import { isLookedAt, settingsToCheck } from '../infra/config/settings-to-check.js';
import { addressCheck } from '../infra/doctor/address-check.js';
import { printResults, runChecks, settingsLines, wrongSettings } from '../infra/doctor/run-checks.js';
import { runnerKeysCheck } from '../infra/doctor/runner-keys-check.js';
import { webhookKeyCheck } from '../infra/doctor/webhook-key-check.js';
import { createRedactor } from '../infra/telemetry/redaction.js';
import { startTracing } from '../infra/telemetry/tracing.js';
import { temporalChecks } from '../infra/temporal/checks.js';
import { connectTemporal } from '../infra/temporal/client.js';
import { databaseChecks } from '../store/database-checks.js';
import { Installation } from '../store/installation.js';
import { migrationsDirectory } from '../store/migrate.js';
import { createPool } from '../store/pool.js';
import { keysInUse } from '../store/webhooks.js';

/** `--check`: looks at what the API needs with the API's own settings, prints a JSON line for each and answers the exit code. */
export async function checkApi(): Promise<number> {
  const { problems, config } = settingsToCheck(readApiConfig);
  const settings = problems.length === 0 ? settingsLines('api') : wrongSettings('api', problems);
  return printResults([...settings, ...(config === undefined ? [] : await look(config, problems))]);
}

/** Looks at what depends on settings without `problems`. */
async function look(config: ApiConfig, problems: readonly ConfigurationProblem[]): Promise<CheckResult[]> {
  const pool = createPool({
    connectionString: config.databaseUrl,
    applicationName: 'agentrun-api-check',
    onError: () => undefined,
  });
  const temporal = connectTemporal(config.temporal, startTracing({ serviceName: 'agentrun-api-check' }));
  const installation = new Installation(pool);
  const installationId = () => installation.id();
  const publicBase =
    config.publicUrl === undefined ? undefined : { url: config.publicUrl, variable: 'AGENTRUN_MGR_URL' };
  try {
    return await runChecks(
      'api',
      [
        ...databaseChecks(pool, migrationsDirectory(packageRoot())),
        ...temporalChecks(temporal.client, config.temporal.address),
        runnerKeysCheck(config.runnerKeysFile),
        webhookKeyCheck(config.webhooks.keyFile, () => keysInUse(pool)),
        addressCheck({ name: 'internal URL', base: config.internalBase, installationId }),
        ...(publicBase === undefined
          ? []
          : [addressCheck({ name: 'public URL', base: publicBase, installationId })]),
        prefixCheck(config),
      ].filter((check) => isLookedAt(check.variable, problems)),
      createRedactor([config.databaseUrl, config.temporal.apiKey]),
    );
  } finally {
    await Promise.allSettled([pool.end(), temporal.connection.close()]);
  }
}

/** A public path that the API does not know works only as long as every proxy strips it. */
function prefixCheck({ publicUrl, pathPrefix }: ApiConfig): Check {
  const variable = 'AGENTRUN_PATH_PREFIX';
  return {
    name: 'path prefix',
    variable,
    cure: `correct ${variable}`,
    look: () => {
      const expected = publicUrl === undefined ? '' : normalPathPrefix(new URL(publicUrl).pathname);
      if (expected === pathPrefix || publicUrl === undefined)
        return Promise.resolve({
          ok: true,
          message: pathPrefix === '' ? 'none' : `${pathPrefix}, as often as it stands there`,
        });
      return Promise.resolve({
        ok: false,
        severity: 'warning',
        message: `AGENTRUN_MGR_URL has the path ${expected ?? new URL(publicUrl).pathname}, the prefix is ${pathPrefix || 'off'}`,
        cure: `remove ${variable}, so that the path of AGENTRUN_MGR_URL is taken, unless a proxy strips that path`,
      });
    },
  };
}
