import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { WatchCursorFile } from '../../cli/watch-cursor-file.js';
import { readProcessIdentity } from '../../infra/processes/process-identity.js';

const folder = mkdtempSync(join(tmpdir(), 'agentrun-cursor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cursor = { runId: `run_${'0'.repeat(26)}`, seq: 7 };
const path = (sessionId: string) => join(folder, 'cursors', `${sessionId}.json`);

test('what was watched is for its owner only, until all was shown', () => {
  const file = WatchCursorFile.open(folder, 's1');
  file?.write(cursor);
  expect(file?.read()).toEqual(cursor);
  expect(statSync(path('s1')).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder, 'cursors')).mode & 0o777).toBe(0o700);
  file?.remove();
  file?.remove();
  expect(WatchCursorFile.open(folder, 's1')?.read()).toBeNull();
});

test('a place belongs to the watch that runs, and to whoever comes when it is gone', () => {
  WatchCursorFile.open(folder, 's2')?.write(cursor);
  const parent = readProcessIdentity(process.ppid);
  const note = (watch: unknown) => writeFileSync(path('s2'), JSON.stringify({ ...cursor, watch }));
  note(parent);
  expect(WatchCursorFile.open(folder, 's2')).toBeNull();
  note({ ...parent, startTime: 1 });
  expect(WatchCursorFile.open(folder, 's2')?.read()).toEqual(cursor);
  note(undefined);
  expect(WatchCursorFile.open(folder, 's2')?.read()).toEqual(cursor);
});
