import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunFailureKind } from '../../contract/failure-kinds.js';
import type { TerminalCategory } from '../../contract/supervisor.js';
import { killProcessGroup } from '../../infra/processes/process-group.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getResult,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { agentOf } from '../support/runner-processes.js';
import { atHold, modelRequests, release } from '../support/scripted-control.js';

/** Small waits: what is proven is which rows are tried again, and how often. The wait of a parked turn is long enough to be seen. */
const executionPolicy = { retryBackoffMs: 50, providerParkMs: 3_000, maxAttempts: 3 };

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined, undefined, { runnerIdleTimeoutMs: 1_000 });
});
afterAll(async () => {
  await local?.stop();
});

interface Row {
  /** The signal, as the provider sends it: parameters of the scenario `outage`. */
  readonly signal: string;
  readonly failureKind: RunFailureKind;
  readonly attempts: number;
  readonly category: TerminalCategory;
  readonly confidence: 'high' | 'medium' | 'low';
  readonly evidence: 'proxy' | 'agent' | 'both' | 'none';
}

const failed = (
  signal: string,
  failureKind: RunFailureKind,
  attempts: number,
  over: Partial<Row> = {},
): Row => ({
  signal,
  failureKind,
  attempts,
  category: 'provider-failure',
  confidence: 'high',
  evidence: 'both',
  ...over,
});

// Decisions.md, "Provider errors": a signal that never ends, and what becomes of the turn.
const rows: readonly Row[] = [
  failed('kind=unauthorized', 'provider-auth', 1),
  failed('kind=http status=403', 'provider-auth', 1),
  failed('kind=insufficient_quota', 'provider-quota', 1),
  failed('kind=bad_request', 'provider-rejected', 1),
  failed('kind=model_not_found', 'model-not-found', 1),
  failed('kind=http status=404', 'model-not-found', 1),
  failed('kind=server_error', 'provider-unavailable', 2),
  failed('kind=connection_lost', 'provider-unavailable', 2),
  failed('kind=server_overloaded', 'provider-overloaded', 3),
  failed('kind=context_length_exceeded', 'context-window-exceeded', 2),
  failed('kind=stream_cut', 'provider-disconnected', 3),
];

async function begin(scenario: string, name: string): Promise<{ sessionId: string; runId: string }> {
  const sessionId = await createSession(local, { executionPolicy });
  const { run } = await send(local, sessionId, `PROMPT-${name}-END [[scenario:${scenario} name=${name}]]`);
  return { sessionId, runId: run.id };
}

async function attemptsOf(runId: string) {
  const { rows: attempts } = await local.db.query<{
    epoch: number;
    counted: boolean;
    failure_kind: string | null;
  }>(
    'select epoch, counted, end_failure_kind as failure_kind from attempts where run_id = $1 order by epoch',
    [runId],
  );
  return attempts;
}

describe('a provider that fails for good', () => {
  it.each(rows)(
    '$signal: $failureKind after $attempts attempts',
    async ({ signal, failureKind, attempts, category, confidence, evidence }) => {
      const name = `bad-${rows.findIndex((row) => row.signal === signal)}`;
      const { sessionId, runId } = await begin(`outage ${signal}`, name);
      const { status } = await eventsToEnd(local, sessionId, runId, undefined, 120_000);
      expect(status).toBe('failed');
      const result = await getResult(local, runId);
      expect({
        failureKind: result.failureKind,
        category: result.terminalClassification.category,
        confidence: result.terminalClassification.confidence,
        providerEvidence: result.terminalClassification.providerEvidence,
        attempts: (await attemptsOf(runId)).length,
      }).toEqual({ failureKind, category, confidence, providerEvidence: evidence, attempts });
      if (failureKind === 'context-window-exceeded') {
        const requests = await modelRequests(local, { contains: `PROMPT-${name}-END` });
        expect(requests.map((request) => request.requestKind)).toContain('compaction');
      }
    },
  );

  it('anything else, here an agent that is killed in each attempt: agent-error, tried again once', async () => {
    const sessionId = await createSession(local, { executionPolicy });
    const { run } = await send(local, sessionId, '[[scenario:hold name=no-provider-failure]]');
    for (const epoch of [1, 2]) {
      const agent = await eventually(`the agent of attempt ${epoch} is at the model`, async () => {
        const { rows: found } = await local.db.query<{ job_name: string }>(
          "select job_name from attempts a join runs r using (run_id) where run_id = $1 and epoch = $2 and r.status = 'running'",
          [run.id, epoch],
        );
        return found[0] === undefined ? undefined : agentOf(local.dataDir, found[0].job_name);
      });
      await atHold(local, 'no-provider-failure');
      killProcessGroup(agent, 'SIGKILL');
    }
    expect((await eventsToEnd(local, sessionId, run.id)).status).toBe('failed');
    const { failureKind, terminalClassification } = await getResult(local, run.id);
    expect(failureKind).toBe('agent-error');
    expect(terminalClassification).toMatchObject({ category: 'failed-known', confidence: 'medium' });
    expect(await attemptsOf(run.id)).toHaveLength(2);
    await release(local, 'no-provider-failure');
  });
});

describe('a provider limit', () => {
  it.each([
    ['limit kind=rate_limited retryAfterS=2', 'provider-rate-limited'],
    ['outage kind=rate_limit_exceeded', 'provider-rate-limited'],
    ['limit kind=insufficient_quota retryAfterS=4', 'provider-quota'],
  ])(
    '%s parks the turn; it goes on when the limit is over, and the attempt does not count',
    async (signal, kind) => {
      const name = `limit-${kind}-${signal.length}`;
      const { sessionId, runId } = await begin(signal, name);
      await eventually(
        'the turn is parked',
        async () => ((await getResult(local, runId)).liveness.phase === 'parked' ? true : undefined),
        60_000,
      );
      // Nothing of the runner is held meanwhile.
      const serving = await local.db.query(
        "select 1 from runners where session_id = $1 and state in ('launching', 'serving')",
        [sessionId],
      );
      expect(serving.rows).toEqual([]);
      await release(local, name);
      const { events, status } = await eventsToEnd(local, sessionId, runId, undefined, 120_000);
      expect(status).toBe('completed');
      const phases = events
        .filter((event) => event.type === 'backend_status')
        .map((event) => event.payload.phase);
      expect(phases).toContain('parked');
      const attempts = await attemptsOf(runId);
      expect(attempts.length).toBeGreaterThan(1);
      expect(attempts[0]).toMatchObject({ counted: false, failure_kind: kind });
      expect((await getResult(local, runId)).terminalClassification.category).toBe('completed');
    },
  );
});
