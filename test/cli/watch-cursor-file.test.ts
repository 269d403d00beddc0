import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { WatchCursorFile } from '../../cli/watch-cursor-file.js';

const folder = mkdtempSync(join(tmpdir(), 'agentrun-cursor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('what was watched is for its owner only', () => {
  const cursor = { runId: `run_${'0'.repeat(26)}`, seq: 7 };
  const file = new WatchCursorFile(folder, 's1');
  file.write(cursor);
  expect(file.read()).toEqual(cursor);
  expect(statSync(join(folder, 'cursors', 's1.json')).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder, 'cursors')).mode & 0o777).toBe(0o700);
});
