import { archiveSession, unarchiveSession } from '../../store/archive-session.js';
import { findSessionToDelete } from '../../store/session-storage.js';
import type { ApiDeps } from '../deps.js';
import { implement, type Route } from '../route.js';
import { tenantOf } from '../tenancy.js';
import { unknownOutcome } from '../unknown-outcome.js';

/** Putting a session aside, taking it back, deleting it (ours; docs/adr/0017). */
export function sessionLifeRoutes(deps: ApiDeps): Route[] {
  const { pool, gateway, notifier } = deps;
  return [
    implement('archiveSession', async ({ params: { sessionId }, caller }) => {
      const { session, closingJobs } = await archiveSession(pool, sessionId, tenantOf(caller));
      // An idle runner has its question pending: it is told at once.
      for (const jobName of closingJobs) notifier.notify('agentrun_runner', jobName);
      notifier.notify('agentrun_session', sessionId);
      return session;
    }),
    implement('unarchiveSession', async ({ params: { sessionId }, caller }) => {
      const session = await unarchiveSession(pool, sessionId, tenantOf(caller));
      notifier.notify('agentrun_session', sessionId);
      return session;
    }),
    implement('deleteSession', async ({ params: { sessionId }, caller }) => {
      const session = await findSessionToDelete(pool, sessionId, tenantOf(caller));
      await gateway.deleteSession(session).catch((error: unknown) => {
        throw unknownOutcome(error, { sessionId });
      });
      return { action: 'session-deleted', sessionId, valuesPrinted: false };
    }),
  ];
}
