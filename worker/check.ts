import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Check, CheckResult } from '../contract/doctor.js';
import { packageRoot } from '../infra/config/package-root.js';
import type { ConfigurationProblem } from '../infra/config/read-env.js';
import { isLookedAt, settingsToCheck } from '../infra/config/settings-to-check.js';
import { readWorkerConfig, type WorkerConfig } from '../infra/config/worker-config.js';
import { addressCheck } from '../infra/doctor/address-check.js';
import { clusterChecks } from '../infra/doctor/cluster-checks.js';
import { probeChecks } from '../infra/doctor/probe-checks.js';
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

/** `--check`: looks at what the worker and its runners need with the worker's own settings, prints a JSON line for each and answers the exit code. */
export async function checkWorker(): Promise<number> {
  const { problems, config } = settingsToCheck(readWorkerConfig);
  const settings = problems.length === 0 ? settingsLines('worker') : wrongSettings('worker', problems);
  return printResults([...settings, ...(config === undefined ? [] : await look(config, problems))]);
}

/** Looks at what depends on settings without `problems`. */
async function look(config: WorkerConfig, problems: readonly ConfigurationProblem[]): Promise<CheckResult[]> {
  const pool = createPool({
    connectionString: config.databaseUrl,
    applicationName: 'agentrun-worker-check',
    onError: () => undefined,
  });
  const temporal = connectTemporal(config.temporal, startTracing({ serviceName: 'agentrun-worker-check' }));
  const installation = new Installation(pool);
  try {
    return await runChecks(
      'worker',
      [
        ...databaseChecks(pool, migrationsDirectory(packageRoot())),
        ...temporalChecks(temporal.client, config.temporal.address),
        runnerKeysCheck(config.runnerKeysFile),
        webhookKeyCheck(config.webhooks.keyFile, () => keysInUse(pool)),
        // Without a provider there is no launcher of ours: others start the runners.
        ...(config.runners.launcher === 'process'
          ? [providerKeyCheck(config.runners.provider.keyFile), launcherCheck(config.dataDir)]
          : []),
        ...(config.runners.launcher === 'kubernetes'
          ? [
              ...clusterChecks({ settings: config.runners.cluster }),
              ...probeChecks({ settings: config.runners.cluster, base: config.manager }),
            ]
          : []),
        addressCheck({
          name: 'URL for runners',
          base: config.manager,
          installationId: () => installation.id(),
        }),
      ].filter((check) => isLookedAt(check.variable, problems)),
      createRedactor([config.databaseUrl, config.temporal.apiKey]),
    );
  } finally {
    await Promise.allSettled([pool.end(), temporal.connection.close()]);
  }
}

function providerKeyCheck(path: string): Check {
  const variable = 'AGENTRUN_PROVIDER_KEY_FILE';
  return {
    name: 'provider key',
    variable,
    cure: `correct ${variable}: a file with the key of the model provider that this user can read`,
    look: () => {
      if (readFileSync(path, 'utf8').trim() === '') throw new Error(`${path} is empty`);
      const othersMayRead = (statSync(path).mode & 0o077) !== 0;
      return Promise.resolve(
        othersMayRead
          ? {
              ok: false,
              severity: 'warning',
              message: `others than its owner can read ${path}`,
              cure: `chmod 600 ${path}`,
            }
          : { ok: true, message: 'can be read, by its owner only' },
      );
    },
  };
}

/** What the process launcher needs: its programs, and a folder to write to. */
function launcherCheck(dataDir: string): Check {
  const variable = 'AGENTRUN_DATA_DIR';
  return {
    name: 'launcher',
    variable,
    cure: `correct ${variable}: a folder that this user can write to`,
    look: () => {
      const programs = ['supervisor', 'agent-host'].map((name) =>
        join(packageRoot(), 'dist', 'runner', name, 'main.js'),
      );
      const missing = programs.filter((program) => !existsSync(program));
      if (missing.length > 0) {
        return Promise.resolve({
          ok: false,
          message: `${missing.join(', ')} is missing`,
          cure: 'build it: npm run build',
        });
      }
      mkdirSync(dataDir, { recursive: true });
      accessSync(dataDir, constants.W_OK);
      return Promise.resolve({ ok: true, message: `starts processes; data in ${dataDir}` });
    },
  };
}
