import { z } from 'zod';

/** What came of an audited request. Null in the record: the process ended before it was known. */
export const auditOutcomeSchema = z.enum(['success', 'refused', 'failed']);
export type AuditOutcome = z.infer<typeof auditOutcomeSchema>;

/**
 * One entry of the audit log: who did what to which thing, and what came of it. Entries are only appended; the outcome is filled in once. Never a body.
 * `operation` is the operation id of the OpenAPI document, `resourceId` the last id of the path or the one that was created. `requests`: how many it stands
 * for; refusals of one caller and kind within a minute are summed up, with the trace id of the last.
 */
export const auditRecordSchema = z
  .object({
    id: z.string(),
    at: z.string(),
    actor: z.string(),
    actorKind: z.enum(['token', 'oidc', 'anonymous']),
    tenantId: z.string().nullable(),
    operation: z.string(),
    method: z.string(),
    route: z.string(),
    resourceKind: z.string().nullable(),
    resourceId: z.string().nullable(),
    outcome: auditOutcomeSchema.nullable(),
    status: z.number().int().nullable(),
    failureKind: z.string().nullable(),
    requests: z.number().int(),
    traceId: z.string(),
  })
  .meta({
    id: 'AuditEntry',
    description:
      'Who did what to which thing, and what came of it. `requests`: how many alike it stands for. Never holds a body.',
  });
export type AuditRecord = z.infer<typeof auditRecordSchema>;
