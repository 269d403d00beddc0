import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { routes } from '../../contract/routes/index.js';
import { packageRoot } from '../../infra/config/package-root.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { setup } from '../support/temporal-setup.js';
import { Harness } from '../workflows/harness.js';
import { scenarios } from './scenarios.js';

// npm run record-histories: plays scenarios and stores the histories of their workflows, named <version>-<scenario>.json. A file that exists is
// never overwritten and none is removed: a history that does not replay is answered with patched(), not with another recording. Who changes what
// workflows do raises `version`; the histories of former versions stay beside the new ones and have to replay too.
//
// Those of scenarios.ts play over activities that answer as written there. With `--stack`, turns of the real stack are recorded as well.

/** Of the histories, not of the package: what workflows do changes less often. */
const version = '0.2.0';
const folder = join(packageRoot(), 'test', 'replay', 'histories');
const fileOf = (scenario: string) => join(folder, `${version}-${scenario}.json`);

async function record(client: Client, scenario: string, workflowId: string): Promise<void> {
  const file = fileOf(scenario);
  if (existsSync(file)) {
    console.log(`kept      ${file}`);
    return;
  }
  const [id = '', execution] = workflowId.split('#');
  const history = await client.workflow.getHandle(id, execution).fetchHistory();
  // Stack traces name the folder that this machine has the repository in.
  writeFileSync(file, `${historyToJSON(history).replaceAll(`${packageRoot()}/`, '')}\n`);
  console.log(`recorded  ${file} (${history.events?.length} events)`);
}

async function recordScenarios(): Promise<void> {
  await setup();
  const harness = await Harness.start();
  try {
    for (const scenario of scenarios) {
      if (existsSync(fileOf(scenario.name))) continue;
      await record(harness.client, scenario.name, await scenario.play(harness));
    }
  } finally {
    await harness.stop();
  }
}

async function recordStack(): Promise<void> {
  const local = await startLocalStack((line) => console.log(line));
  const connection = await Connection.connect({ address: local.stack.temporalAddress });
  const temporal = new Client({ connection });
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
    await record(temporal, 'turn-steered', `turn/${steered.run.id}`);
    await record(temporal, 'turn-warm', `turn/${queued.run.id}`);
    await record(temporal, 'session-steers-and-queue', `session/${sessionId}`);

    const cancelled = await send(local, sessionId, 'c [[scenario:hold name=c]]');
    await running(cancelled.run.id);
    await local.client.call(routes.cancelRun, { params: { runId: cancelled.run.id }, body: {} });
    await ended(`turn/${cancelled.run.id}`);
    await record(temporal, 'turn-cancelled', `turn/${cancelled.run.id}`);

    const refused = await createSession(local, { workspace: { path: '/nowhere' } });
    const failed = await send(local, refused, 'd');
    await ended(`turn/${failed.run.id}`);
    await record(temporal, 'turn-launch-refused', `turn/${failed.run.id}`);

    const task = await local.client.call(routes.createQueueTask, {
      body: { tenantId: 'test', projectId: 'test', prompt: 'e [[scenario:echo]]' },
    });
    await local.client.call(routes.dispatchQueueTask, { params: { taskId: task.id }, body: {} });
    await ended(`queueTask/${task.id}`);
    await record(temporal, 'queue-task', `queueTask/${task.id}`);
  } finally {
    await connection.close();
    await local.stop();
  }
}

await recordScenarios();
if (process.argv.includes('--stack')) await recordStack();
