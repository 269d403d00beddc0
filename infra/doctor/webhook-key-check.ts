import type { Check } from '../../contract/doctor.js';
import { ConfigurationError } from '../config/read-env.js';
import { readWebhookKey, type WebhookKey } from '../webhooks/webhook-key.js';

/**
 * Whether the key of webhooks can be read and is the one that their secrets were made from: asked of each process, it says too whether all of them have
 * the same.
 *
 * @param keysInUse how many webhooks have secrets of which key, asked after the file was read.
 */
export function webhookKeyCheck(
  file: string | undefined,
  keysInUse: () => Promise<readonly { readonly fingerprint: string; readonly webhooks: number }[]>,
): Check {
  const variable = 'AGENTRUN_WEBHOOK_KEY_FILE';
  return {
    name: 'webhook key',
    variable,
    cure: `correct ${variable}: a file with a key of at least 32 characters, the same for API and worker`,
    look: async () => {
      const key = keyOf(file);
      const inUse = await keysInUse().catch(() => undefined);
      if (inUse === undefined)
        return {
          ok: false,
          severity: 'skipped',
          message: `${key === undefined ? 'is not set' : 'can be read'}; whether it is that of the webhooks cannot be said without the database`,
          cure: 'start Postgres, or correct DATABASE_URL',
          variable: 'DATABASE_URL',
        };
      const others = inUse
        .filter(({ fingerprint }) => fingerprint !== key?.fingerprint)
        .reduce((sum, { webhooks }) => sum + webhooks, 0);
      const count = `${others} ${others === 1 ? 'webhook has' : 'webhooks have'}`;
      if (key === undefined && others > 0)
        return {
          ok: false,
          message: `${variable} is not set, and ${count} a secret of a key`,
          cure: `set ${variable} to the file of that key`,
        };
      if (key === undefined)
        return { ok: true, message: `none: ${variable} is not set, there are no webhooks` };
      if (others > 0)
        return {
          ok: false,
          message: `${count} a secret of another key than this one (${key.fingerprint}): nothing is sent to them`,
          cure: `correct ${variable}, the same for API and worker, or rotate those secrets (agentrun webhook rotate)`,
        };
      return { ok: true, message: `can be read, and is that of every webhook (${key.fingerprint})` };
    },
  };
}

/** @throws Error in one line. */
function keyOf(file: string | undefined): WebhookKey | undefined {
  try {
    return readWebhookKey(file, () => undefined);
  } catch (error) {
    throw error instanceof ConfigurationError ? new Error(error.problems[0]?.expected) : error;
  }
}
