import { AgentRunError } from '../contract/errors.js';
import type { EnsuredSession, SessionRecord } from '../contract/sessions.js';
import { getSession, pvcOf } from '../store/sessions.js';
import type { SessionStorageInput } from '../workflows/messages.js';
import type { ApiDeps } from './deps.js';

/** The session as the workflow of its storage wants to know it. */
export function storageInput(session: SessionRecord): SessionStorageInput {
  const { sessionId, tenantId, projectId } = session;
  return { sessionId, tenantId, projectId };
}

/**
 * Completes the creation of a session: its storage exists before the answer, and the answer is the session as it is afterwards (contract.md oddity 17).
 * When Temporal is away, or its workers are of a version that knows no storage yet, the session is answered as it is: `Pending`. The same request again
 * completes it, and so does the first launch. A session that existed with its storage is answered as it is.
 *
 * @throws AgentRunError `session-store-evicted` when it was evicted in between.
 */
export async function withStorage(deps: ApiDeps, ensured: EnsuredSession): Promise<EnsuredSession> {
  if (ensured.action === 'session-exists') return ensured;
  const { sessionId, tenantId } = ensured.session;
  await deps.gateway.ensureStorage(storageInput(ensured.session)).catch((error: unknown) => {
    if (!(error instanceof AgentRunError) || error.failureKind !== 'unavailable') throw error;
    deps.logger.warn({ cause: error, sessionId }, 'the storage of a new session was not made in time');
  });
  // A replayed answer may be of a session whose id is another tenant's by now.
  const session = await getSession(deps.pool, sessionId, tenantId);
  return { ...ensured, session, pvc: pvcOf(session) };
}
