import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { z } from 'zod';
import { queueTaskRecordSchema } from '../../contract/queue.js';
import { packageRoot } from '../../infra/config/package-root.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  send,
  startLocalStack,
} from '../support/local-stack.js';

// npm run record-histories: plays scenarios on the real stack and stores the histories of their workflows, named
// <version>-<scenario>.json. A file that exists is never overwritten: after a release a history that does not replay is answered
// with patched(), not with another recording.

const folder = join(packageRoot(), 'test', 'replay', 'histories');
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')));

const local = await startLocalStack((line) => console.log(line));
const connection = await Connection.connect({ address: local.stack.temporalAddress });
const temporal = new Client({ connection });

async function record(scenario: string, workflowId: string): Promise<void> {
  const file = join(folder, `${version}-${scenario}.json`);
  if (existsSync(file)) {
    console.log(`kept      ${file}`);
    return;
  }
  const history = await temporal.workflow.getHandle(workflowId).fetchHistory();
  // Stack traces name the folder that this machine has the repository in.
  writeFileSync(file, `${historyToJSON(history).replaceAll(`${packageRoot()}/`, '')}\n`);
  console.log(`recorded  ${file} (${history.events?.length} events)`);
}

const ended = (workflowId: string) => temporal.workflow.getHandle(workflowId).result();
const release = (hold: string) =>
  fetch(`${local.scriptedUrl}/__scripted/holds/${hold}/release`, { method: 'POST' });
const running = (runId: string) =>
  eventually('the turn runs', async () =>
    (await getRun(local, runId)).status === 'running' ? true : undefined,
  );

try {
  const sessionId = await createSession(local);
  const steered = await send(local, sessionId, 'a [[scenario:hold name=a]]');
  await running(steered.run.id);
  await send(local, sessionId, 'steer one');
  await send(local, sessionId, 'steer two');
  const queued = await send(local, sessionId, 'b [[scenario:echo]]', { whenBusy: 'queue' });
  await release('a');
  await eventsToEnd(local, sessionId, steered.run.id);
  await eventsToEnd(local, sessionId, queued.run.id);
  await ended(`turn/${steered.run.id}`);
  await ended(`turn/${queued.run.id}`);
  await record('turn-steered', `turn/${steered.run.id}`);
  await record('turn-warm', `turn/${queued.run.id}`);
  await record('session-steers-and-queue', `session/${sessionId}`);

  const cancelled = await send(local, sessionId, 'c [[scenario:hold name=c]]');
  await running(cancelled.run.id);
  await local.client.request(z.unknown(), 'POST', ['api', 'v1', 'runs', cancelled.run.id, 'cancel'], {
    body: {},
  });
  await ended(`turn/${cancelled.run.id}`);
  await record('turn-cancelled', `turn/${cancelled.run.id}`);

  const refused = await createSession(local, { workspace: { path: '/nowhere' } });
  const failed = await send(local, refused, 'd');
  await ended(`turn/${failed.run.id}`);
  await record('turn-launch-refused', `turn/${failed.run.id}`);

  const task = await local.client.request(queueTaskRecordSchema, 'POST', ['api', 'v1', 'queue', 'tasks'], {
    body: { tenantId: 'test', projectId: 'test', prompt: 'e [[scenario:echo]]' },
  });
  await local.client.request(
    queueTaskRecordSchema,
    'POST',
    ['api', 'v1', 'queue', 'tasks', task.id, 'dispatch'],
    {
      body: {},
    },
  );
  await ended(`queueTask/${task.id}`);
  await record('queue-task', `queueTask/${task.id}`);
} finally {
  await connection.close();
  await local.stop();
}
