import { realpath } from 'node:fs/promises';
import { type ClientLog, errorLine } from '../../client/index.js';
import { measureDirectory } from '../../infra/storage/measure-directory.js';
import type { RunApi } from './manager-api.js';

/** Of one look. Nobody waits for it but a runner that closes. */
const limits = { mostFiles: 200_000, longestMs: 5_000 };
const requestMs = 3_000;

/**
 * Measures the session's volume, which nobody but its pod sees, and tells the API. Best effort: the next turn's look replaces it. The files are the agent's:
 * only regular ones are counted, and no link is followed. A look that was cut off tells no hash, and its numbers are lower bounds.
 */
export async function tellStorage(options: {
  readonly api: Pick<RunApi, 'storage'>;
  readonly sessionId: string;
  readonly measuredDirectory: string;
  readonly log: ClientLog;
}): Promise<void> {
  const { api, sessionId, measuredDirectory, log } = options;
  try {
    const { sizeBytes, filesCount, sha256 } = await measureDirectory(
      await realpath(measuredDirectory),
      limits,
    );
    await api.storage(
      sessionId,
      { storageSizeBytes: sizeBytes, storageFilesCount: filesCount, storageSha256: sha256 },
      requestMs,
    );
  } catch (error) {
    log.warn({ ...errorLine(error) }, 'the size of the storage was not told');
  }
}
