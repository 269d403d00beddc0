import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import type { SpilledEvents } from '../../infra/storage/session-storage.js';

let outer: string;
let dataDir: string;
let storage: DirectoryStorage;
beforeEach(() => {
  outer = mkdtempSync(join(tmpdir(), 'agentrun-storage-test-'));
  dataDir = join(outer, 'data');
  mkdirSync(dataDir);
  storage = new DirectoryStorage(dataDir);
});
// Not by Node's own: some of the trees are too deep for it.
afterEach(() => execFileSync('rm', ['-rf', outer]));

const root = (sessionId: string) => join(dataDir, 'sessions', sessionId);
function write(sessionId: string, path: string, content: string): void {
  const file = join(root(sessionId), path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}
/** Folders inside each other whose path is longer than PATH_MAX (4,096 bytes), made as an agent would: going down. */
function nest(from: string, depth: number): void {
  const goDown = `const name = 'x'.repeat(100);
    process.chdir(process.argv[1]);
    for (let level = 0; level < ${depth}; level += 1) { fs.mkdirSync(name); process.chdir(name); }`;
  execFileSync(process.execPath, ['-e', goDown, from]);
}
async function remove(sessionId: string, signal?: AbortSignal): Promise<void> {
  await storage.discard(sessionId, '1');
  await storage.removeDiscarded(sessionId, '1', signal);
}
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('making and measuring', () => {
  it('makes an empty storage, again and again, and keeps what is there', async () => {
    await storage.ensure('s');
    write('s', 'agent/workspace/a.txt', 'kept');
    await storage.ensure('s');
    expect(readFileSync(join(root('s'), 'agent/workspace/a.txt'), 'utf8')).toBe('kept');
  });

  it('counts regular files and hashes path, size and content in the order of the paths', async () => {
    write('s', 'b/one', 'first');
    write('s', 'a-two', '');
    write('s', 'a/ä "three"\n', 'third');
    const lines = [
      ['a-two', ''],
      ['a/ä "three"\n', 'third'],
      ['b/one', 'first'],
    ].map(([path = '', content = '']) => `${JSON.stringify(path)} ${content.length} ${sha256(content)}\n`);
    expect(await storage.measure('s')).toEqual({
      phase: 'Bound',
      sizeBytes: 10,
      filesCount: 3,
      sha256: sha256(lines.join('')),
      isComplete: true,
    });
  });

  it('tells a storage that is not there', async () => {
    expect(await storage.measure('never-made')).toEqual({
      phase: 'Lost',
      sizeBytes: 0,
      filesCount: 0,
      sha256: null,
      isComplete: true,
    });
  });

  it('follows no link: not to a file, not to a folder, not in a circle', async () => {
    writeFileSync(join(outer, 'secret'), 'SECRET'.repeat(100));
    write('s', 'agent/file', 'mine');
    const alone = await storage.measure('s');
    symlinkSync(join(outer, 'secret'), join(root('s'), 'agent', 'to-file'));
    symlinkSync(outer, join(root('s'), 'agent', 'to-folder'));
    symlinkSync('..', join(root('s'), 'agent', 'circle'));
    expect(await storage.measure('s')).toEqual(alone);
  });

  it('says when it was cut off: lower bounds and no hash', async () => {
    for (let index = 0; index < 10; index += 1) write('s', `file-${index}`, 'x');
    const few = new DirectoryStorage(dataDir, { mostFiles: 4, longestMs: 5_000 });
    expect(await few.measure('s')).toMatchObject({
      filesCount: 4,
      sizeBytes: 4,
      sha256: null,
      isComplete: false,
    });
    const hasty = new DirectoryStorage(dataDir, { mostFiles: 100, longestMs: -1 });
    expect(await hasty.measure('s')).toMatchObject({ sha256: null, isComplete: false });
  });

  it('takes a path that is longer than the kernel takes as a limit', async () => {
    write('s', 'agent/file', 'seen');
    nest(root('s'), 60);
    expect(await storage.measure('s')).toMatchObject({
      phase: 'Bound',
      filesCount: 1,
      sha256: null,
      isComplete: false,
    });
    await remove('s');
  });

  it('has another hash whenever a path, a size or a content differs', async () => {
    const name = fc.stringMatching(/^[a-z0-9]{1,6}$/);
    const tree = fc.dictionary(name, fc.string({ maxLength: 8 }), { maxKeys: 4, noNullPrototype: true });
    await fc.assert(
      fc.asyncProperty(tree, tree, async (left, right) => {
        rmSync(join(dataDir, 'sessions'), { recursive: true, force: true });
        const hashes: (string | null)[] = [];
        for (const [sessionId, files] of [
          ['left', left],
          ['right', right],
        ] as const) {
          await storage.ensure(sessionId);
          for (const [path, content] of Object.entries(files)) write(sessionId, path, content);
          hashes.push((await storage.measure(sessionId)).sha256);
        }
        const same = (files: Record<string, string>) =>
          JSON.stringify(
            Object.keys(files)
              .toSorted()
              .map((path) => [path, files[path]]),
          );
        expect(hashes[0] === hashes[1]).toBe(same(left) === same(right));
      }),
      { numRuns: 20 },
    );
  });
});

describe('removing', () => {
  it('removes the folder of the session alone, and is safe to repeat', async () => {
    write('s', 'agent/workspace/a', 'x');
    write('s2', 'agent/workspace/a', 'x');
    await remove('s');
    await remove('s');
    expect(readdirSync(join(dataDir, 'sessions'))).toEqual(['.trash', 's2']);
  });

  it('removes folders beyond the longest path, and folders that are read-only', async () => {
    write('s', 'agent/cache/module/file', 'x');
    chmodSync(join(root('s'), 'agent/cache/module'), 0o500);
    chmodSync(join(root('s'), 'agent/cache'), 0o500);
    nest(join(root('s'), 'agent'), 60);
    await remove('s');
    expect(await storage.exists('s')).toBe(false);
  });

  it('says why something could not be removed, and stops when it is told to', async () => {
    write('s', 'agent/a', 'x');
    await expect(remove('s', AbortSignal.abort())).rejects.toThrow(/cannot be removed/);
    await remove('s');
    expect(readdirSync(join(dataDir, 'sessions', '.trash'))).toEqual([]);
  });

  it('takes back an empty storage alone', async () => {
    await storage.ensure('empty');
    expect(await storage.removeEmpty('empty')).toBe(true);
    expect(await storage.exists('empty')).toBe(false);
    write('s', 'agent/home/memory', 'kept');
    expect(await storage.removeEmpty('s')).toBe(false);
    expect(existsSync(join(root('s'), 'agent/home/memory'))).toBe(true);
  });

  it('removes links, never what they lead to', async () => {
    write('s', 'agent/a', 'x');
    write('other', 'agent/a', 'x');
    mkdirSync(join(outer, 'elsewhere'));
    writeFileSync(join(outer, 'elsewhere', 'file'), 'kept');
    symlinkSync(join(outer, 'elsewhere'), join(root('s'), 'agent', 'away'));
    symlinkSync(root('other'), join(root('s'), 'agent', 'neighbour'));
    linkSync(join(outer, 'elsewhere', 'file'), join(root('s'), 'agent', 'hard'));
    await remove('s');
    expect(existsSync(root('s'))).toBe(false);
    expect(readFileSync(join(outer, 'elsewhere', 'file'), 'utf8')).toBe('kept');
    expect(existsSync(join(root('other'), 'agent', 'a'))).toBe(true);
  });

  it.each(['..', '.', '', '../outside', 'a/b', '/etc', 'a\0b', '.hidden'])(
    'refuses the id %j',
    async (id) => {
      mkdirSync(join(dataDir, 'outside'));
      for (const step of ['ensure', 'measure', 'exists', 'removeEmpty'] as const)
        await expect(storage[step](id)).rejects.toThrow(/session id/);
      await expect(remove(id)).rejects.toThrow(/session id/);
      expect(existsSync(join(dataDir, 'outside'))).toBe(true);
    },
  );

  it('refuses a session folder, or a folder of sessions, that is a link', async () => {
    mkdirSync(join(outer, 'elsewhere', 's'), { recursive: true });
    writeFileSync(join(outer, 'elsewhere', 's', 'file'), 'kept');
    await storage.ensure('other');
    symlinkSync(join(outer, 'elsewhere', 's'), root('s'));
    for (const step of ['ensure', 'measure', 'exists', 'removeEmpty'] as const)
      await expect(storage[step]('s')).rejects.toThrow(/left alone/);
    await expect(remove('s')).rejects.toThrow(/left alone/);
    rmSync(join(dataDir, 'sessions'), { recursive: true });
    symlinkSync(join(outer, 'elsewhere'), join(dataDir, 'sessions'));
    await expect(storage.measure('s')).rejects.toThrow(/left alone/);
    await expect(remove('s')).rejects.toThrow(/left alone/);
    expect(readFileSync(join(outer, 'elsewhere', 's', 'file'), 'utf8')).toBe('kept');
  });
});

describe('what an attempt left', () => {
  const runId = 'run_00000000000000000000000000';
  const spill = (text: string) =>
    `${JSON.stringify({ seq: 1, event: { type: 'agent_message', payload: { text } } })}\n`;
  const attempt = { runId, epoch: 1 };
  async function textsOf(spilled: SpilledEvents): Promise<unknown[]> {
    const texts: unknown[] = [];
    for await (const lines of spilled.batches()) texts.push(...lines.map(({ event }) => event.payload.text));
    return texts;
  }

  it.skipIf(process.platform !== 'linux').each(['supervisor', 'supervisor/runs', `supervisor/runs/${runId}`])(
    'is read and removed where it was looked for, whatever %s is turned into meanwhile',
    async (swapped) => {
      const rest = join(`supervisor/runs/${runId}`, 'events-1.ndjson').slice(swapped.length);
      write('s', `supervisor/runs/${runId}/events-1.ndjson`, spill('its own'));
      const other = join(outer, 'other', rest);
      mkdirSync(dirname(other), { recursive: true });
      writeFileSync(other, spill('of somebody else'));
      await storage.withSpill('s', attempt, async (spilled) => {
        renameSync(join(root('s'), swapped), join(root('s'), 'aside'));
        symlinkSync(join(outer, 'other'), join(root('s'), swapped));
        expect(await textsOf(spilled)).toEqual(['its own']);
        await spilled.remove();
      });
      expect(existsSync(other)).toBe(true);
      expect(existsSync(join(root('s'), 'aside', rest))).toBe(false);
      const use = () => Promise.reject(new Error('there is nothing to use'));
      await expect(storage.withSpill('s', attempt, use)).rejects.toThrow(/ENOTDIR|ELOOP/);
    },
  );

  it('of another attempt, or of none, is nothing', async () => {
    const use = () => Promise.reject(new Error('there is nothing to use'));
    await storage.withSpill('s', attempt, use);
    write('s', `supervisor/runs/${runId}/events-2.ndjson`, spill('later'));
    await storage.withSpill('s', attempt, use);
    await expect(storage.withSpill('s', { runId: '../..', epoch: 1 }, use)).rejects.toThrow(/run id/);
  });
});
