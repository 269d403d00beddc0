import type { AgentRequestResolution, AnswerPayload } from '../contract/agent-requests.js';

/** What a person's decision about a request of the agent leads to: the state of its record, and what the driver is told. */
export function resolutionOf(answer: AnswerPayload): AgentRequestResolution {
  switch (answer.decision) {
    case 'approve':
      return { resolution: 'approved', forSession: false };
    case 'approve-for-session':
      return { resolution: 'approved', forSession: true };
    case 'deny':
      return { resolution: 'denied', text: answer.text };
    case 'answer':
      return { resolution: 'answered', text: answer.text, answers: answer.answers };
  }
}
