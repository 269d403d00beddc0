import type { Command } from 'commander';
import { quickRetry } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import type { StorageSummary } from '../../contract/storage.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { createOutput, type Output } from '../output.js';
import type { Run } from './run-command.js';

const optionNames = { sessionId: '<sessionId>' };

/** Adds `session archive`, `unarchive`, `delete` and `storage`. Each may be repeated, so that all are. */
export function addSessionLifeCommands(session: Command, run: Run): void {
  const add = (
    name: string,
    description: string,
    work: (sessionId: string, output: Output, options: StorageOptions) => Promise<void>,
  ) =>
    session
      .command(name)
      .description(description)
      .argument('<sessionId>')
      .action((sessionId: string, options: StorageOptions, command: Command) =>
        run(
          command,
          async () => {
            await work(sessionId, createOutput(command.optsWithGlobals().json === true), options);
            return exitCodes.ok;
          },
          { optionNames },
        ),
      );

  for (const [name, route, description] of [
    ['archive', routes.archiveSession, 'put a session aside: it takes no messages'],
    ['unarchive', routes.unarchiveSession, 'take an archived session back'],
  ] as const) {
    add(name, description, async (sessionId, output) => {
      const record = await findApi(output).client.call(
        route,
        { params: { sessionId } },
        { retry: quickRetry },
      );
      output.data(record);
      output.line(record.archivedAt === null ? 'not archived' : `archived since ${record.archivedAt}`);
    });
  }
  add('delete', 'delete a session with its files, turns and events, for good', async (sessionId, output) => {
    const { client } = findApi(output);
    const deleted = await client.call(routes.deleteSession, { params: { sessionId } });
    output.data(deleted);
    output.line(`deleted ${deleted.sessionId}`);
  });
  add('storage', "show the storage of a session's files", showStorage)
    .option('--refresh', 'look at the files anew')
    .option('--evict', 'delete the files for good and keep the record');
}

interface StorageOptions {
  readonly refresh?: boolean;
  readonly evict?: boolean;
}

async function showStorage(sessionId: string, output: Output, options: StorageOptions): Promise<void> {
  const summary = await storageOf(sessionId, output, options);
  output.data(summary);
  const { storageKind, pvcPhase, storageSizeBytes, storageFilesCount, storageUpdatedAt } = summary;
  output.line(
    `${storageKind} (${summary.storageBackend ?? 'none'}) ${pvcPhase ?? 'gone'}`,
    storageUpdatedAt === null
      ? 'never measured (--refresh looks at the files)'
      : `${storageSizeBytes} bytes in ${storageFilesCount} files, as of ${storageUpdatedAt}`,
  );
}

async function storageOf(
  sessionId: string,
  output: Output,
  options: StorageOptions,
): Promise<StorageSummary> {
  const { client } = findApi(output);
  const input = { params: { sessionId } };
  if (options.evict === true)
    return (await client.call(routes.evictStorage, input, { retry: quickRetry })).summary;
  if (options.refresh === true)
    return (await client.call(routes.refreshStorage, { ...input, body: {} }, { retry: quickRetry })).summary;
  return client.call(routes.getStorage, input);
}
