import { z } from 'zod';
import { auditOutcomeSchema, auditRecordSchema } from '../audit.js';
import { cursorQuery, limitQuery, pageOf, queryOf, textQuery } from '../queries.js';
import { routeContract } from '../route-contract.js';
import { timeSchema } from '../text.js';

export const auditRoutes = {
  listAudit: routeContract({
    method: 'get',
    path: '/api/v1/audit',
    tag: 'audit',
    summary: 'Who did what, the newest first; a token of a tenant sees its tenant only.',
    auth: { api: 'admin' },
    query: z.object({
      limit: limitQuery(100),
      cursor: cursorQuery,
      actor: textQuery,
      operation: textQuery,
      resourceId: textQuery,
      outcome: queryOf(auditOutcomeSchema),
      since: queryOf(timeSchema),
      until: queryOf(timeSchema),
    }),
    data: pageOf(auditRecordSchema),
  }),
};
