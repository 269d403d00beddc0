import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codexConfig, writeCodexConfig } from '../../runner/drivers/codex/codex-config.js';
import { createSession, type LocalStack, startLocalStack } from '../support/local-stack.js';
import { BareCodex } from './bare-codex.js';
import { median, rounded } from './statistics.js';
import { timedTurn } from './timed-turn.js';

const rounds = 9;
/** Before each turn, on both sides: what the former turn leaves to be done is not this one's cost. */
const settleMs = 700;
const prompt = 'measure [[scenario:bench-turn]]';

interface Sample {
  readonly coldMs: number;
  readonly warmMs: number;
}

/**
 * What a turn costs over a bare Codex that plays the same scenario with the same config against the same scripted server. Cold: from nothing to the end of
 * the first turn. Warm: the second turn on the same app-server. Sides interleaved, medians.
 */
export async function benchTurn(): Promise<Record<string, unknown>> {
  const stack = await startLocalStack((line) => console.log(`  ${line}`));
  try {
    // Warms file caches of both sides; not counted.
    await bareSample(stack);
    await ourSample(stack);
    const bare: Sample[] = [];
    const ours: Sample[] = [];
    for (let round = 0; round < rounds; round += 1) {
      bare.push(await bareSample(stack));
      ours.push(await ourSample(stack));
    }
    const figures = {
      bareColdMs: median(bare.map((sample) => sample.coldMs)),
      oursColdMs: median(ours.map((sample) => sample.coldMs)),
      bareWarmMs: median(bare.map((sample) => sample.warmMs)),
      oursWarmMs: median(ours.map((sample) => sample.warmMs)),
    };
    console.table({
      cold: {
        'bare Codex ms': rounded(figures.bareColdMs, 0),
        'AgentRun ms': rounded(figures.oursColdMs, 0),
      },
      warm: {
        'bare Codex ms': rounded(figures.bareWarmMs, 0),
        'AgentRun ms': rounded(figures.oursWarmMs, 0),
      },
    });
    console.table(
      ours.map((sample, index) => ({
        ...sample,
        bareColdMs: bare[index]?.coldMs,
        bareWarmMs: bare[index]?.warmMs,
      })),
    );
    return {
      ratio: {
        cold: rounded(figures.oursColdMs / figures.bareColdMs, 3),
        warm: rounded(figures.oursWarmMs / figures.bareWarmMs, 3),
      },
      overheadMs: {
        cold: rounded(figures.oursColdMs - figures.bareColdMs, 0),
        warm: rounded(figures.oursWarmMs - figures.bareWarmMs, 0),
      },
      rounds,
    };
  } finally {
    await stack.stop();
  }
}

async function ourSample(stack: LocalStack): Promise<Sample> {
  const sessionId = await createSession(stack);
  await sleep(settleMs);
  const cold = await timedTurn(stack, sessionId, prompt);
  await sleep(settleMs);
  const warm = await timedTurn(stack, sessionId, prompt);
  return { coldMs: cold.elapsedMs, warmMs: warm.elapsedMs };
}

async function bareSample(stack: LocalStack): Promise<Sample> {
  const home = await mkdtemp(join(tmpdir(), 'agentrun-bench-'));
  await writeCodexConfig(home, codexConfig({ model: 'scripted-1', baseUrl: `${stack.scriptedUrl}/v1` }));
  await sleep(settleMs);
  const startedAt = performance.now();
  const codex = await BareCodex.start(home);
  try {
    const threadId = await codex.startThread(home);
    await codex.turn(threadId, prompt);
    const coldMs = performance.now() - startedAt;
    await sleep(settleMs);
    const warmAt = performance.now();
    await codex.turn(threadId, prompt);
    return { coldMs, warmMs: performance.now() - warmAt };
  } finally {
    await codex.close();
    await rm(home, { recursive: true, force: true, maxRetries: 5 });
  }
}
