import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { routes } from '../../contract/routes/index.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { supervisorOf } from '../support/runner-processes.js';

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

it('a session with a finished turn is measured, evicted with its warm runner, and deleted without a trace', async () => {
  const sessionId = await createSession(local);
  const folder = join(local.dataDir, 'sessions', sessionId);
  expect(existsSync(folder)).toBe(true);
  const { run, runnerJob } = await send(local, sessionId, 'do it [[scenario:echo]]');
  expect((await eventsToEnd(local, sessionId, run.id)).status).toBe('completed');
  const params = { sessionId };

  const { summary } = await local.client.call(routes.refreshStorage, { params, body: {} });
  expect(summary).toMatchObject({ storageKind: 'pvc', pvcPhase: 'Bound' });
  expect(summary.storageFilesCount).toBeGreaterThan(0);
  expect(summary.storageSizeBytes).toBeGreaterThan(0);
  expect(summary.storageSha256).toMatch(/^[0-9a-f]{64}$/);

  const pid = supervisorOf(local.dataDir, runnerJob?.jobName ?? '')?.pid;
  expect((await local.client.call(routes.evictStorage, { params })).summary.storageKind).toBe('evicted');
  await eventually('the files are gone', async () => {
    const { pvcPhase } = await local.client.call(routes.getStorage, { params });
    return pvcPhase === null ? true : undefined;
  });
  expect(existsSync(folder)).toBe(false);
  const runners = await local.db.query('select state from runners where session_id = $1', [sessionId]);
  expect(runners.rows).toEqual([{ state: 'gone' }]);
  if (pid !== undefined) expect(() => process.kill(pid, 0)).toThrow();
  await expect(send(local, sessionId, 'again')).rejects.toMatchObject({
    status: 409,
    failureKind: 'session-store-evicted',
  });

  await local.client.call(routes.deleteSession, { params });
  await expect(local.client.call(routes.getSession, { params })).rejects.toMatchObject({ status: 404 });
  await eventually('the rows are gone', async () => {
    const { rows } = await local.db.query(
      `select 1 from sessions where session_id = $1 union all select 1 from runs where session_id = $1
         union all select 1 from events where run_id = $2 union all select 1 from runners where session_id = $1`,
      [sessionId, run.id],
    );
    return rows.length === 0 ? true : undefined;
  });
}, 120_000);
