import { createHmac, hkdfSync } from 'node:crypto';
import { ConfigurationError } from '../config/read-env.js';
import { secretSetting } from '../config/secret-file.js';

const shortestWebhookKey = 32;
const secretBytes = 32;
const fingerprintBytes = 8;

/** One message on its way: what its signature is about. */
export interface SignedMessage {
  /** Header `webhook-id`. */
  readonly id: string;
  /** Header `webhook-timestamp`: seconds since 1970 of this try. */
  readonly timestampSeconds: number;
  readonly body: string;
}

/**
 * Makes the secrets of webhooks and signs with them (https://www.standardwebhooks.com). They are derived by HKDF from one key, the webhook's id and the
 * generation of its secret, so that none is stored anywhere.
 */
export class WebhookKey {
  readonly #key: string;
  /** Tells keys apart and says nothing of them. */
  readonly fingerprint: string;

  constructor(key: string) {
    this.#key = key;
    this.fingerprint = this.#derive('fingerprint', fingerprintBytes).toString('hex');
  }

  /** The secret of a webhook, as its receiver is told it. */
  secret(webhookId: string, generation: number): string {
    return `whsec_${this.#secret(webhookId, generation).toString('base64')}`;
  }

  /** The header `webhook-signature`: one signature for each generation, divided by blanks. */
  signature(webhookId: string, generations: readonly number[], message: SignedMessage): string {
    const signed = `${message.id}.${message.timestampSeconds}.${message.body}`;
    return generations
      .map((generation) => {
        const secret = this.#secret(webhookId, generation);
        return `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`;
      })
      .join(' ');
  }

  #secret(webhookId: string, generation: number): Buffer {
    return this.#derive(`secret ${webhookId} ${generation}`, secretBytes);
  }

  #derive(purpose: string, bytes: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#key, 'agentrun-webhook', purpose, bytes));
  }
}

/**
 * The key of `AGENTRUN_WEBHOOK_KEY_FILE`; undefined when it is not set.
 *
 * @param onKey told the key itself, so that it can be kept out of logs.
 * @throws ConfigurationError when the file cannot be read or its key is too short; never with its content.
 */
export function readWebhookKey(
  file: string | undefined,
  onKey: (key: string) => void,
): WebhookKey | undefined {
  const variable = 'AGENTRUN_WEBHOOK_KEY';
  const key = secretSetting({ variable, value: undefined, file });
  if (key === undefined) return undefined;
  onKey(key);
  if (key.length >= shortestWebhookKey) return new WebhookKey(key);
  throw new ConfigurationError([
    {
      variable: `${variable}_FILE`,
      expected: `expected a key of at least ${shortestWebhookKey} characters: openssl rand -base64 32`,
    },
  ]);
}
