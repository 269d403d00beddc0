import { z } from 'zod';
import { createSession, type LocalStack, startLocalStack } from '../support/local-stack.js';
import { rounded } from './statistics.js';
import { timedTurn } from './timed-turn.js';

const shortSeconds = 10;
const longSeconds = 180;
/** A third of the lease is the heartbeat: 1 s. */
const leaseMs = 3_000;

/** How much longer a turn's workflow history gets when the turn lasts 18 times as long with 1 s heartbeats. */
export async function benchHistory(): Promise<Record<string, unknown>> {
  const stack = await startLocalStack((line) => console.log(`  ${line}`));
  try {
    const [short, long] = await Promise.all([
      eventsOfTurn(stack, shortSeconds),
      eventsOfTurn(stack, longSeconds),
    ]);
    console.table({ [`${shortSeconds} s`]: { events: short }, [`${longSeconds} s`]: { events: long } });
    return {
      ratio: { events: rounded(long / short, 3) },
      events: { short, long },
      seconds: { short: shortSeconds, long: longSeconds },
    };
  } finally {
    await stack.stop();
  }
}

async function eventsOfTurn(stack: LocalStack, seconds: number): Promise<number> {
  const sessionId = await createSession(stack, { executionPolicy: { leaseMs } });
  const prompt = `wait [[scenario:sleep seconds=${seconds}]]`;
  const { runId, elapsedMs } = await timedTurn(stack, sessionId, prompt, (seconds + 60) * 1_000);
  console.log(`turn of ${seconds} s: ${Math.round(elapsedMs)} ms`);
  return closedHistoryLength(stack, `turn/${runId}`);
}

const describedSchema = z.object({
  workflowExecutionInfo: z.object({ status: z.string(), historyLength: z.coerce.number() }),
});

async function closedHistoryLength(stack: LocalStack, workflowId: string): Promise<number> {
  const url = `${stack.stack.temporalUiUrl}/api/v1/namespaces/default/workflows/${encodeURIComponent(workflowId)}`;
  const deadline = Date.now() + 20_000;
  for (;;) {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
    const { workflowExecutionInfo } = describedSchema.parse(await response.json());
    if (workflowExecutionInfo.status === 'WORKFLOW_EXECUTION_STATUS_COMPLETED')
      return workflowExecutionInfo.historyLength;
    if (Date.now() > deadline) throw new Error(`${workflowId} is ${workflowExecutionInfo.status}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
