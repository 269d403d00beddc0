import { listRunners } from '../../store/list-runners.js';
import { listRuns } from '../../store/list-runs.js';
import { listSessions } from '../../store/list-sessions.js';
import type { ApiDeps } from '../deps.js';
import { implement, type Route } from '../route.js';
import { tenantOf } from '../tenancy.js';
import { defaultReader } from './sessions.js';

/** Lists that page by keyset, the newest first (contract.md 3.2; ours: runs, runners, filters). */
export function listRoutes(deps: ApiDeps): Route[] {
  const { pool } = deps;
  return [
    implement('listSessions', ({ query: { profile, ...query }, caller }) => {
      const backendProfile = query.backendProfile ?? profile;
      return listSessions(pool, {
        ...query,
        backendProfile: backendProfile === '' ? undefined : backendProfile,
        readerId: query.readerId ?? defaultReader,
        tenantId: tenantOf(caller),
      });
    }),
    implement('listRuns', ({ query, caller }) => listRuns(pool, { ...query, tenantId: tenantOf(caller) })),
    implement('listRunners', ({ query, caller }) =>
      listRunners(pool, { ...query, tenantId: tenantOf(caller) }),
    ),
  ];
}
