import type { RunResult } from '../contract/runs.js';
import { runLiveness } from '../domain/run-liveness.js';
import { steerDeliveryView } from '../domain/steer-delivery.js';
import type { Queryable } from './pool.js';
import { loadRun, type UsageCounts } from './run-facts.js';

/**
 * Result of a run: how it stands or ended, its last message and diff, its tokens (contract.md 7.1). One statement, independent of how many events the
 * run has (docs/adr/0014); what is concluded from it are the rules of domain/.
 *
 * @throws AgentRunError `not-found`, also for a run of another tenant.
 */
export async function getRunResult(
  db: Queryable,
  runId: string,
  options: { readonly commandId?: string | undefined; readonly tenantId?: string | undefined } = {},
): Promise<RunResult> {
  const run = await loadRun(db, runId, options);
  const { facts } = run;
  const { liveness, diagnosis } = runLiveness(facts, run.nowMs);
  return {
    runId,
    commandId: facts.commandId,
    status: facts.status,
    terminalStatus: facts.terminalStatus,
    failureKind: facts.failureKind,
    failureMessage: facts.failureMessage,
    lastSeq: facts.lastSeq,
    finalMessage: run.finalMessage,
    diff: run.diff,
    usage: run.proxyUsage ?? sumOf(run.agentUsage),
    late: run.late,
    liveness,
    terminalClassification: liveness.terminalClassification,
    diagnosis,
    steerDelivery: run.steer === null ? null : steerDeliveryView(run.steer),
    valuesPrinted: false,
  };
}

/** The proxy counts each request; where there is none, the agent's totals of each attempt are added. */
function sumOf(attempts: readonly UsageCounts[]): UsageCounts | null {
  if (attempts.length === 0) return null;
  const sum = (name: keyof UsageCounts) => attempts.reduce((total, usage) => total + usage[name], 0);
  return {
    requests: sum('requests'),
    inputTokens: sum('inputTokens'),
    cachedInputTokens: sum('cachedInputTokens'),
    outputTokens: sum('outputTokens'),
    reasoningOutputTokens: sum('reasoningOutputTokens'),
    totalTokens: sum('totalTokens'),
  };
}
