import { listAudit } from '../../store/audit.js';
import type { ApiDeps } from '../deps.js';
import { implement, type Route } from '../route.js';
import { tenantOf } from '../tenancy.js';

/** Who did what (security.md 20). What names no tenant is for administrators of all tenants. */
export function auditRoutes({ pool }: ApiDeps): Route[] {
  return [
    implement('listAudit', ({ query, caller }) => listAudit(pool, { ...query, tenantId: tenantOf(caller) })),
  ];
}
