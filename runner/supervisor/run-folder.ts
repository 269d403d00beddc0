import { constants, mkdirSync } from 'node:fs';
import { open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type ClientLog, errorLine } from '../../client/index.js';

const ledgerSchema = z.object({ runId: z.string(), epoch: z.number().int(), threadId: z.string().min(1) });
const maxLedgerBytes = 10_000;
/** What runs that are over have left is looked at by nobody; it is kept a day for people. */
const keepOthersMs = 24 * 3_600_000;

/**
 * The folder of one run in the supervisor's part of the session's volume: what attempt N leaves for attempt N+1 (architecture.md 7). Files are 0600,
 * read without following links. Nothing here stops a turn: what cannot be read or written is logged.
 */
export class RunFolder {
  readonly #parent: string;
  readonly #path: string;
  readonly #runId: string;
  readonly #log: ClientLog;

  constructor(supervisorDirectory: string, runId: string, log: ClientLog) {
    this.#parent = join(supervisorDirectory, 'runs');
    this.#path = join(this.#parent, runId);
    this.#runId = runId;
    this.#log = log;
    try {
      mkdirSync(this.#path, { recursive: true, mode: 0o700 });
    } catch (error) {
      log.warn({ path: this.#path, ...errorLine(error) }, 'the folder of the run was not made');
    }
  }

  spillPath(epoch: number): string {
    return join(this.#path, `events-${epoch}.ndjson`);
  }

  /** Removes what is old of other runs: at most one turn of a session is active, so theirs are over. */
  async removeOthers(): Promise<void> {
    await this.#attempt('tidied', async () => {
      for (const name of await readdir(this.#parent)) {
        const path = join(this.#parent, name);
        if (name === this.#runId || Date.now() - (await stat(path)).mtimeMs < keepOthersMs) continue;
        this.#log.warn({ path }, 'removed what a former run left');
        await rm(path, { recursive: true, force: true });
      }
    });
  }

  /** Writes down the thread, durably, before its prompt is sent: the API may be away at that moment. */
  async rememberThread(epoch: number, threadId: string): Promise<void> {
    await this.#attempt('written', async () => {
      const path = join(this.#path, 'thread.json');
      const file = await open(`${path}.new`, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify({ runId: this.#runId, epoch, threadId })}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.new`, path);
      const folder = await open(this.#path, 'r');
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    });
  }

  /** The thread of the newest attempt that had one; null when there was none. */
  async rememberedThread(): Promise<string | null> {
    const text = await this.read(join(this.#path, 'thread.json'), maxLedgerBytes);
    if (text === undefined) return null;
    const ledger = ledgerSchema.safeParse(parseJson(text)).data;
    return ledger?.runId === this.#runId ? ledger.threadId : null;
  }

  /** Epochs before `epoch` that left events behind, oldest first. */
  async spilledEpochs(epoch: number): Promise<number[]> {
    const names = await readdir(this.#path).catch(() => []);
    return names
      .map((name) => Number(/^events-(\d+)\.ndjson$/.exec(name)?.[1]))
      .filter((found) => Number.isSafeInteger(found) && found < epoch)
      .toSorted((one, other) => one - other);
  }

  /** Content of a regular file, at most `maxBytes`; undefined when there is none or it is larger. */
  async read(path: string, maxBytes: number): Promise<string | undefined> {
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        const { size } = await file.stat();
        if (size > maxBytes) throw new Error(`${size} bytes are more than ${maxBytes}`);
        return await file.readFile('utf8');
      } finally {
        await file.close();
      }
    } catch (error) {
      if (!isAbsent(error)) this.#log.warn({ path, ...errorLine(error) }, 'a file of the run cannot be read');
      return undefined;
    }
  }

  async remove(path: string): Promise<void> {
    await this.#attempt('removed', () => rm(path, { force: true }));
  }

  /** The run is over, as far as this runner knows: the thread is in the API's record. What was not uploaded stays. */
  async close(): Promise<void> {
    await this.#attempt('removed', async () => {
      await rm(join(this.#path, 'thread.json'), { force: true });
      await rmdir(this.#path).catch(() => undefined);
    });
  }

  async #attempt(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#log.warn({ path: this.#path, ...errorLine(error) }, `the folder of the run was not ${what}`);
    }
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
