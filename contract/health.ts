import { z } from 'zod';

/** Body of the three health routes (contract.md 1.7; status by decisions.md: readiness 503 when something is missing). */
export const healthSchema = z
  .object({
    serviceId: z.literal('agentrun-mgr'),
    live: z.literal(true),
    ready: z.boolean(),
    database: z.object({
      adapter: z.literal('postgres'),
      /** Null: not asked, because liveness asks nobody. */
      ready: z.boolean().nullable(),
      message: z.string().nullable(),
    }),
    temporal: z.object({ ready: z.boolean().nullable(), message: z.string().nullable() }),
    sourceCommit: z.string(),
    /** As whoami answers it; null until it was read for the first time: liveness asks nobody. */
    installationId: z.string().nullable(),
    auth: z
      .object({ tokens: z.array(z.object({ name: z.string(), scopes: z.array(z.string()) })) })
      .nullable(),
    runnerWorkReady: z.object({ backends: z.array(z.string()), capabilities: z.array(z.string()) }),
    secretRefs: z.object({ databaseUrl: z.literal('redacted'), valuesPrinted: z.literal(false) }),
  })
  .meta({ id: 'Health' });
export type Health = z.infer<typeof healthSchema>;
