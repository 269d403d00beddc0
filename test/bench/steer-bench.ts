import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { z } from 'zod';
import { codexConfig, writeCodexConfig } from '../../runner/drivers/codex/codex-config.js';
import { createSession, eventually, type LocalStack, send, startLocalStack } from '../support/local-stack.js';
import { atHold, modelRequests, release } from '../support/scripted-control.js';
import { BareCodex } from './bare-codex.js';
import { median, quantile, rounded } from './statistics.js';
import { leave, touch, trivialWorkflow } from './trivial-workflow.js';

const defaultRounds = 25;
/** Of each side, not counted. */
const warmUps = 3;
/** Between two measurements: what the former one leaves to be done is not this one's cost. */
const settleMs = 200;
const taskQueue = 'steer-bench';

/** One way to bring a text to its end, in milliseconds. */
type Side = () => Promise<number>;
type Name = 'steer' | 'update' | 'insert' | 'bareSteer';
interface Opened {
  readonly side: Side;
  close(): Promise<void>;
}

/** Milliseconds since the epoch, with fractions: the model's request log is written by another process. */
const nowMs = (): number => performance.timeOrigin + performance.now();

/**
 * From the POST of a message to the model request that holds it, during a turn whose model answer is under way, against what it cannot do without, one
 * after another: a Temporal Update of a trivial workflow, an INSERT, and a `turn/steer` on a bare Codex up to its model request. All on the same stack,
 * interleaved.
 */
export async function benchSteer(): Promise<Record<string, unknown>> {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: { rounds: { type: 'string', default: String(defaultRounds) } },
  });
  const rounds = z.coerce.number().int().positive().parse(values.rounds);
  const stack = await startLocalStack((line) => console.log(`  ${line}`));
  const opened: Opened[] = [];
  const open = async (opening: Promise<Opened>): Promise<Side> => {
    const one = await opening;
    opened.push(one);
    return one.side;
  };
  try {
    const sides: Record<Name, Side> = {
      steer: await open(openTurn(stack)),
      update: await open(openWorkflow(stack)),
      insert: await open(openTable(stack)),
      bareSteer: await open(openBareCodex(stack)),
    };
    const samples: Record<Name, number>[] = [];
    for (let round = -warmUps; round < rounds; round += 1) {
      const sample: Record<Name, number> = {
        steer: await settled(sides.steer),
        update: await settled(sides.update),
        insert: await settled(sides.insert),
        bareSteer: await settled(sides.bareSteer),
      };
      if (round >= 0) samples.push(sample);
    }
    return figuresOf(samples);
  } finally {
    for (const one of opened.toReversed()) await one.close();
    await stack.stop();
  }
}

async function settled(side: Side): Promise<number> {
  await sleep(settleMs);
  return side();
}

function figuresOf(samples: readonly Record<Name, number>[]): Record<string, unknown> {
  const sum = ({ update, insert, bareSteer }: Record<Name, number>): number => update + insert + bareSteer;
  const of = (value: (sample: Record<Name, number>) => number) => ({
    p50: rounded(median(samples.map(value)), 1),
    p95: rounded(quantile(samples.map(value), 0.95), 1),
  });
  const steer = of((sample) => sample.steer);
  const baseline = of(sum);
  const parts = {
    update: of((sample) => sample.update),
    insert: of((sample) => sample.insert),
    bareSteer: of((sample) => sample.bareSteer),
  };
  console.table({ 'AgentRun steer': steer, 'one after another': baseline, ...parts });
  return {
    ratio: { p50: rounded(steer.p50 / baseline.p50, 3), p95: rounded(steer.p95 / baseline.p95, 3) },
    steerMs: steer,
    baselineMs: { ...baseline, parts },
    rounds: samples.length,
  };
}

/** A turn of ours whose model answer stops in the middle; each steer breaks it off and the model is asked again. */
async function openTurn(stack: LocalStack): Promise<Opened> {
  const hold = 'steer-bench';
  const sessionId = await createSession(stack);
  const { run } = await send(stack, sessionId, `steer me [[scenario:hold name=${hold}]]`);
  await atHold(stack, hold);
  return {
    side: async () => {
      const text = markerText();
      const sentMs = nowMs();
      const { decision, run: steered } = await send(stack, sessionId, text);
      if (decision !== 'steer' || steered.id !== run.id) throw new Error(`the message became a ${decision}`);
      return (await requestWith(stack, text)) - sentMs;
    },
    close: () => release(stack, hold),
  };
}

/** The same, without us. */
async function openBareCodex(stack: LocalStack): Promise<Opened> {
  const hold = 'bare-steer-bench';
  const home = await mkdtemp(join(tmpdir(), 'agentrun-bench-'));
  await writeCodexConfig(home, codexConfig({ model: 'scripted-1', baseUrl: `${stack.scriptedUrl}/v1` }));
  const codex = await BareCodex.start(home);
  const threadId = await codex.startThread(home);
  const turnId = await codex.startTurn(threadId, `steer me [[scenario:hold name=${hold}]]`);
  await atHold(stack, hold);
  return {
    side: async () => {
      const text = markerText();
      const sentMs = nowMs();
      await codex.steer(threadId, turnId, text);
      return (await requestWith(stack, text)) - sentMs;
    },
    close: async () => {
      await release(stack, hold);
      await codex.close();
      await rm(home, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

const markerText = (): string => `STEER-${randomUUID()}-END`;

/** When the model was asked with a text. Looked for when it has long been there, so that the look does not slow it. */
async function requestWith(stack: LocalStack, text: string): Promise<number> {
  return eventually(
    'the model is asked with the text',
    async () => {
      await sleep(150);
      const [request] = await modelRequests(stack, { contains: text, last: 1 });
      return request?.receivedAtMs;
    },
    30_000,
  );
}

/** On the same Temporal, with a worker of its own in this process. */
async function openWorkflow({ stack }: LocalStack): Promise<Opened> {
  const address = stack.temporalAddress;
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const workerConnection = await NativeConnection.connect({ address });
  const connection = await Connection.connect({ address });
  const client = new Client({ connection });
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('trivial-workflow.ts', import.meta.url)),
    logger: new DefaultLogger('ERROR'),
  });
  const worker = await Worker.create({ connection: workerConnection, taskQueue, workflowBundle });
  const running = worker.run();
  const handle = await client.workflow.start(trivialWorkflow, { taskQueue, workflowId: taskQueue });
  return {
    side: async () => {
      const startedAt = performance.now();
      await handle.executeUpdate(touch);
      return performance.now() - startedAt;
    },
    close: async () => {
      await handle.signal(leave);
      await handle.result();
      worker.shutdown();
      await running;
      await connection.close();
      await workerConnection.close();
    },
  };
}

/** Into a table of its own in the same database. */
async function openTable({ db }: LocalStack): Promise<Opened> {
  await db.query('create table steer_bench (id uuid primary key, payload jsonb not null)');
  return {
    side: async () => {
      const startedAt = performance.now();
      await db.query('insert into steer_bench (id, payload) values ($1, $2)', [
        randomUUID(),
        JSON.stringify({ prompt: markerText() }),
      ]);
      return performance.now() - startedAt;
    },
    close: async () => {
      await db.query('drop table steer_bench');
    },
  };
}
