import { z } from 'zod';

const allowedHost = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/** The variables of API and worker about webhooks; `webhookSettings` reads them. */
export const webhookVariables = {
  AGENTRUN_WEBHOOK_KEY_FILE: z
    .string()
    .optional()
    .describe(
      'File with the key that the secrets of webhooks are derived from, of at least 32 characters; the same for API and worker. Not set: there are no webhooks.',
    ),
  AGENTRUN_WEBHOOK_ALLOWED_HOSTS: z
    .string()
    .transform((text, context) => {
      const hosts = text
        .split(',')
        .map((host) => host.trim().toLowerCase())
        .filter((host) => host !== '');
      if (hosts.every((host) => allowedHost.test(host))) return hosts;
      context.addIssue({ code: 'custom', message: 'expected host or host:port, divided by commas' });
      return z.NEVER;
    })
    .optional()
    .describe(
      'Hosts, or host:port, divided by commas, that webhooks of all tenants reach although they are private, and without TLS: for development. Without a port: 443 (https) and 80 (http). Not set: none.',
    ),
};
const schema = z.object(webhookVariables);

/** What API and worker know about webhooks. */
export interface WebhookSettings {
  /** Undefined: there are no webhooks. */
  readonly keyFile: string | undefined;
  /** `host` (ports 443 and 80) or `host:port`, in lower case. */
  readonly allowedHosts: readonly string[];
}

/** The settings about webhooks of a process that has {@link webhookVariables}. */
export function webhookSettings(read: z.output<typeof schema>): WebhookSettings {
  return {
    keyFile: read.AGENTRUN_WEBHOOK_KEY_FILE,
    allowedHosts: read.AGENTRUN_WEBHOOK_ALLOWED_HOSTS ?? [],
  };
}
