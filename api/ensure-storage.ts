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
 * A session that existed with its storage is answered as it is.
 *
 * @throws AgentRunError `unavailable` with `details {outcome: 'unknown', sessionId}`: the session is stored and its storage `Pending`; the same
 * request again completes it. `session-store-evicted` when it was evicted in between.
 */
export async function withStorage(deps: ApiDeps, ensured: EnsuredSession): Promise<EnsuredSession> {
  if (ensured.action === 'session-exists') return ensured;
  const { sessionId } = ensured.session;
  await deps.gateway.ensureStorage(storageInput(ensured.session)).catch((error: unknown) => {
    throw incomplete(error, sessionId);
  });
  const session = await getSession(deps.pool, sessionId);
  return { ...ensured, session, pvc: pvcOf(session) };
}

function incomplete(error: unknown, sessionId: string): unknown {
  if (!(error instanceof AgentRunError) || error.failureKind !== 'unavailable') return error;
  return new AgentRunError('unavailable', error.message, {
    details: { outcome: 'unknown', sessionId },
    retryAfterSeconds: error.retryAfterSeconds ?? 2,
    cause: error,
  });
}
