import type { AgentRequestRecord } from '../../contract/agent-requests.js';
import { routes } from '../../contract/routes/index.js';
import type { SendAnswer } from '../../contract/sessions.js';
import { eventually, type LocalStack, sendWithRepeats } from './local-stack.js';

/** All that the agent asked in a run, in order. */
export async function requestsOf(local: LocalStack, runId: string): Promise<AgentRequestRecord[]> {
  const page = await local.client.call(routes.listRunRequests, { params: { runId } });
  return page.items;
}

/** Waits until the agent waits for an answer in this attempt of a run. */
export function pendingRequest(local: LocalStack, runId: string, epoch = 1): Promise<AgentRequestRecord> {
  return eventually(`attempt ${epoch} asks`, async () => {
    const requests = await requestsOf(local, runId).catch(() => []);
    return requests.find((request) => request.state === 'pending' && request.epoch === epoch);
  });
}

/** A person decides about a request. @throws ApiError 409 when it was resolved already. */
export function decide(
  local: LocalStack,
  request: AgentRequestRecord,
  decision: 'approve' | 'deny',
  over: Record<string, unknown> = {},
): Promise<SendAnswer> {
  return sendWithRepeats(local, request.sessionId, '', { answers: request.requestId, decision, ...over });
}
