import type { ProducedEvent } from '../../../contract/events.js';
import type { ServerRequestAnswer } from './json-rpc.js';

/** Approvals and the word with which each refuses (agents.md 2.1, Server requests). */
const refusals: Readonly<Record<string, unknown>> = {
  'item/commandExecution/requestApproval': { decision: 'decline' },
  'item/fileChange/requestApproval': { decision: 'decline' },
  applyPatchApproval: { decision: 'denied' },
  execCommandApproval: { decision: 'denied' },
};

/**
 * The answer to a request of the agent, and the event that tells of it. With approval policy `never` no approval should
 * come; one that does is declined. Everything else gets an error: silence would hang the turn. Pure.
 */
export function answerServerRequest(method: string): { answer: ServerRequestAnswer; event: ProducedEvent } {
  const refusal = refusals[method];
  if (refusal !== undefined) {
    return {
      answer: { result: refusal },
      event: {
        type: 'approval_resolved',
        payload: { method, decision: 'decline', reason: 'approvals are off' },
      },
    };
  }
  return {
    answer: { error: { code: -32_601, message: `AgentRun does not answer ${method}` } },
    event: { type: 'backend_status', payload: { phase: 'agent-request-refused', method } },
  };
}
