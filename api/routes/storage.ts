import { AgentRunError } from '../../contract/errors.js';
import type { RefreshStorage } from '../../contract/storage.js';
import { requireCurrent } from '../../store/runner-identity.js';
import { getRun } from '../../store/runs.js';
import { getStorageSummary, storageEvicted } from '../../store/session-storage.js';
import { getSession } from '../../store/sessions.js';
import { noteStorageTold, toldStorageSchema } from '../../store/told-storage.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { storageInput } from '../ensure-storage.js';
import { implement, type Route } from '../route.js';
import { tenantOf } from '../tenancy.js';
import { unknownOutcome } from '../unknown-outcome.js';

/** The storage of sessions (contract.md 3.9). The work is done by workflows; what is answered is the record as it is afterwards. */
export function storageRoutes(deps: ApiDeps): Route[] {
  const { pool, gateway } = deps;
  return [
    implement('getStorage', ({ params: { sessionId }, caller }) =>
      getStorageSummary(pool, sessionId, tenantOf(caller)),
    ),
    implement('evictStorage', async ({ params: { sessionId }, caller }) => {
      const session = await getSession(pool, sessionId, tenantOf(caller));
      await gateway.evictStorage(storageInput(session)).catch((error: unknown) => {
        throw unknownOutcome(error, { sessionId });
      });
      const summary = await getStorageSummary(pool, sessionId);
      return { action: 'session-storage-evicted', sessionId, summary, valuesPrinted: false };
    }),
    implement('refreshStorage', async ({ params: { sessionId }, body, caller }) => {
      await requireOwnSession(deps, caller, sessionId);
      const stored = await getStorageSummary(pool, sessionId, tenantOf(caller));
      if (stored.storageKind === 'evicted') throw storageEvicted(sessionId);
      requireSame('pvcName', body.pvcName, stored.pvcName);
      requireSame('namespace', body.namespace, stored.namespace);
      if (!(await noteTold(deps, caller, sessionId, body))) {
        if (caller.kind === 'run') await requireCurrent(pool, caller.runner);
        await gateway.refreshStorage(storageInput(await getSession(pool, sessionId, tenantOf(caller))));
      }
      return {
        action: 'session-storage-refreshed',
        sessionId,
        summary: await getStorageSummary(pool, sessionId),
      };
    }),
    implement('collectStorage', async ({ caller }) => {
      const report = await gateway.collectStorage(tenantOf(caller) ?? null);
      return {
        action: 'session-storage-gc',
        examined: report.examined,
        kept: [...report.kept],
        deleted: [...report.deleted],
        failed: [...report.failed],
        hasMore: report.hasMore,
        valuesPrinted: false,
      };
    }),
  ];
}

/**
 * What the runner of a session with a volume measured there is taken: it is our supervisor, and nobody else sees the files. What anybody else says is
 * measured anew. True: it was recorded.
 *
 * @throws AgentRunError `schema-invalid`; `fenced` when the runner is not the session's last.
 */
async function noteTold(
  deps: ApiDeps,
  caller: Caller,
  sessionId: string,
  body: RefreshStorage,
): Promise<boolean> {
  if (caller.kind !== 'run' || body.storageSizeBytes == null) return false;
  const told = toldStorageSchema.safeParse({
    sizeBytes: body.storageSizeBytes,
    filesCount: body.storageFilesCount,
    sha256: body.storageSha256 ?? null,
  });
  if (!told.success)
    throw new AgentRunError(
      'schema-invalid',
      'expected storageSizeBytes, storageFilesCount and storageSha256 as measured',
    );
  return noteStorageTold(deps.pool, caller.runner, sessionId, told.data);
}

/**
 * A run token is for the session of its run.
 *
 * @throws AgentRunError `forbidden`, `fenced`.
 */
async function requireOwnSession(deps: ApiDeps, caller: Caller, sessionId: string): Promise<void> {
  if (caller.kind !== 'run') return;
  const run = await getRun(deps.pool, caller.runner.runId);
  if (run.sessionId !== sessionId)
    throw new AgentRunError('forbidden', 'the token is for a run of another session');
}

/**
 * A name that a client gives must be the one that is stored; where none is (a directory has no namespace) any is taken (contract.md oddity 19).
 *
 * @throws AgentRunError `conflict`.
 */
function requireSame(field: string, given: string | undefined, stored: string | null): void {
  if (given !== undefined && stored !== null && given !== stored)
    throw new AgentRunError('conflict', `${field}: the storage of this session has ${stored}`, {
      details: { field, stored },
    });
}
