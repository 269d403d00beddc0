import { constants, mkdirSync } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type ClientLog, errorLine } from '../../client/index.js';
import { openRegular, ownFile } from '../../infra/spill/regular-file.js';

const ledgerSchema = z.object({
  runId: z.string(),
  epoch: z.number().int(),
  threadId: z.string().min(1),
  /** The prompt was about to be given to an agent that keeps no ids of messages. */
  handedOver: z.boolean().optional(),
});
const toldSchema = z.object({ requestId: z.string() });
const maxLedgerBytes = 10_000;
/** Some ten thousand answers. */
const maxToldBytes = 1_000_000;
const appendFlags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | ownFile;
const toldName = 'told.ndjson';
/** What runs that are over have left is looked at by nobody; it is kept a day for people. */
const keepOthersMs = 24 * 3_600_000;

/** What the newest attempt that opened a thread wrote down. */
export interface RememberedThread {
  readonly threadId: string;
  readonly handedOver: boolean;
}

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

  /** Where the spills of the run's attempts stand too (infra/spill). */
  get path(): string {
    return this.#path;
  }

  /** Removes what is old of other runs: at most one turn of a session is active, so theirs are over. */
  async removeOthers(): Promise<void> {
    await this.#attempt('tidied', async () => {
      for (const name of await readdir(this.#parent)) {
        const path = join(this.#parent, name);
        if (name === this.#runId || Date.now() - (await lstat(path)).mtimeMs < keepOthersMs) continue;
        this.#log.warn({ path }, 'removed what a former run left');
        await rm(path, { recursive: true, force: true });
      }
    });
  }

  /**
   * Writes down the thread, durably, before its prompt is sent: the API may be away at that moment. `handedOver` says that the prompt itself is about
   * to be given to an agent that cannot tell later whether it had it.
   */
  async rememberThread(
    epoch: number,
    threadId: string,
    { handedOver = false }: { readonly handedOver?: boolean } = {},
  ): Promise<void> {
    await this.#attempt('written', async () => {
      const path = join(this.#path, 'thread.json');
      const fresh = `${path}.new`;
      await rm(fresh, { force: true });
      const ledger = { runId: this.#runId, epoch, threadId, ...(handedOver ? { handedOver } : {}) };
      await writeDurably(await open(fresh, 'wx', 0o600), `${JSON.stringify(ledger)}\n`);
      await rename(fresh, path);
      await this.#syncFolder();
    });
  }

  /** The thread of the newest attempt that had one; null when there was none. */
  async rememberedThread(): Promise<RememberedThread | null> {
    const text = await this.#read('thread.json', maxLedgerBytes);
    if (text === undefined) return null;
    const ledger = ledgerSchema.safeParse(parseJson(text)).data;
    if (ledger?.runId !== this.#runId) return null;
    return { threadId: ledger.threadId, handedOver: ledger.handedOver === true };
  }

  /** Writes down, durably, that the agent is about to be told the answer to a request. */
  async rememberTold(requestId: string): Promise<void> {
    await this.#attempt('written', async () => {
      const file = await open(join(this.#path, toldName), appendFlags, 0o600);
      // The line break first: a line that was cut by the end of its writer spoils no other.
      await writeDurably(file, `\n${JSON.stringify({ requestId })}\n`);
      await this.#syncFolder();
    });
  }

  /** The requests whose answers an agent of this run was told, or may have been. */
  async toldRequests(): Promise<ReadonlySet<string>> {
    const text = await this.#read(toldName, maxToldBytes);
    const entries = (text ?? '').split('\n').map((line) => toldSchema.safeParse(parseJson(line)).data);
    return new Set(entries.flatMap((entry) => (entry === undefined ? [] : [entry.requestId])));
  }

  async #read(name: string, maxBytes: number): Promise<string | undefined> {
    const path = join(this.#path, name);
    try {
      const file = await openRegular(path, maxBytes);
      try {
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
      await Promise.all(['thread.json', toldName].map((name) => rm(join(this.#path, name), { force: true })));
      await rmdir(this.#path).catch(() => undefined);
    });
  }

  async #syncFolder(): Promise<void> {
    const folder = await open(this.#path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async #attempt(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#log.warn({ path: this.#path, ...errorLine(error) }, `the folder of the run was not ${what}`);
    }
  }
}

async function writeDurably(file: FileHandle, text: string): Promise<void> {
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
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
