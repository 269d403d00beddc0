import { z } from 'zod';
import { tokenScopeSchema } from './route-contract.js';
import { driverCapabilitiesSchema } from './runners.js';
import { backendProfileSchema } from './states.js';

/**
 * Answer of `GET /api/v1/whoami`. `installationId` is the same on every replica over one database: it tells whether two addresses reach the same AgentRun
 * (requirements.md A.0.c 29).
 */
export const whoamiSchema = z
  .object({
    kind: z.enum(['api', 'launch', 'runner', 'run']),
    name: z.string().nullable(),
    scopes: z.array(tokenScopeSchema),
    /** Null: the token sees every tenant. */
    tenantId: z.string().nullable(),
    runId: z.string().nullable(),
    epoch: z.number().int().nullable(),
    runnerId: z.string().nullable(),
    installationId: z.string(),
  })
  .meta({ id: 'Whoami' });
export type Whoami = z.infer<typeof whoamiSchema>;

/** Answer of `GET /api/v1/backends` (contract.md 2.1). */
export const backendListSchema = z
  .object({
    items: z.array(
      z.object({ backendProfile: backendProfileSchema, capabilities: driverCapabilitiesSchema }),
    ),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'BackendList' });
