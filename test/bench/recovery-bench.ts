import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { supervisorOf } from '../support/runner-processes.js';
import { atHold, modelRequests, release } from '../support/scripted-control.js';
import { quantile, rounded } from './statistics.js';

const rounds = 20;
const executionPolicy = { leaseMs: 3_000 };

/**
 * From kill -9 of a runner to the next model request of the turn that is resumed, with a living worker that sees the exit of the process. The
 * baseline, measured in between, is what a first attempt needs from the send to its first model request.
 */
export async function benchRecovery(): Promise<Record<string, unknown>> {
  const stack = await startLocalStack((line) => console.log(`  ${line}`), undefined, {
    runnerIdleTimeoutMs: 1_000,
  });
  try {
    // Warms file caches; not counted.
    await recovery(stack, 'warm-up');
    const samples: { coldMs: number; recoveryMs: number }[] = [];
    for (let round = 0; round < rounds; round += 1) samples.push(await recovery(stack, `recovery-${round}`));
    console.table(samples);
    const recoveries = samples.map((sample) => sample.recoveryMs);
    const colds = samples.map((sample) => sample.coldMs);
    const p50Ms = quantile(recoveries, 0.5);
    const coldP50Ms = quantile(colds, 0.5);
    return {
      p50Ms,
      p95Ms: quantile(recoveries, 0.95),
      n: rounds,
      baseline: { coldStartP50Ms: coldP50Ms, coldStartP95Ms: quantile(colds, 0.95) },
      ratio: { recoveryToColdStart: rounded(p50Ms / coldP50Ms, 3) },
    };
  } finally {
    await stack.stop();
  }
}

/** One turn in a session of its own: its cold start, then its recovery. */
async function recovery(stack: LocalStack, name: string): Promise<{ coldMs: number; recoveryMs: number }> {
  const sessionId = await createSession(stack, { executionPolicy });
  const sentAt = Date.now();
  const { run } = await send(stack, sessionId, `PROMPT-${name}-END [[scenario:hold name=${name}]]`);
  await atHold(stack, name);
  const [first] = await modelRequests(stack, { contains: `PROMPT-${name}-END` });
  if (first === undefined) throw new Error('the model was not asked');
  const victim = supervisorOf(stack.dataDir, await jobOf(stack, run.id));
  if (victim === undefined) throw new Error('the runner does not run');
  const killedAt = Date.now();
  process.kill(victim.pid, 'SIGKILL');
  const next = await eventually(
    'the resumed turn asks the model',
    async () => {
      const [last] = await modelRequests(stack, { contains: `PROMPT-${name}-END`, last: 1 });
      return last !== undefined && last.receivedAtMs > killedAt ? last : undefined;
    },
    60_000,
  );
  await release(stack, name);
  const { status } = await eventsToEnd(stack, sessionId, run.id);
  const { attempt } = await getRun(stack, run.id);
  if (status !== 'completed' || attempt !== 2)
    throw new Error(`the turn ended ${status} in attempt ${attempt}`);
  return { coldMs: first.receivedAtMs - sentAt, recoveryMs: next.receivedAtMs - killedAt };
}

async function jobOf(stack: LocalStack, runId: string): Promise<string> {
  const { rows } = await stack.db.query<{ job_name: string }>(
    'select job_name from attempts where run_id = $1',
    [runId],
  );
  return rows[0]?.job_name ?? '';
}
