import type { EventType, ProducedEvent } from '../contract/events.js';

/** What an event says about the agent that works behind it. */
export interface EventProgress {
  /** The model was heard: ends the wait for the first output. */
  readonly isOutput: boolean;
  /** The turn goes on: the idle limit counts anew. */
  readonly isProgress: boolean;
}

const output: EventProgress = { isOutput: true, isProgress: true };
const progress: EventProgress = { isOutput: false, isProgress: true };
const nothing: EventProgress = { isOutput: false, isProgress: false };

const byType: Readonly<Record<EventType, EventProgress>> = {
  agent_message: output,
  reasoning: output,
  plan: output,
  command_execution: output,
  file_change: output,
  tool_call: output,
  diff: output,
  approval_requested: output,
  approval_resolved: progress,
  user_message: progress,
  steer_delivery: progress,
  error: progress,
  backend_status: progress,
  usage: nothing,
  attempt_started: nothing,
  budget: nothing,
  event_truncated: nothing,
  events_lost: nothing,
  storage: nothing,
  terminal_status: nothing,
  timeout_warning: nothing,
};

/** Steps before the model is asked, told once each by the runner. */
const openingPhases: ReadonlySet<string> = new Set([
  'boot',
  'thread-opened',
  'thread-lost',
  'thread-history-truncated',
]);

/**
 * What an event counts for (decisions.md, Timeouts: the idle limit is reset by progress events only, not by retry notes):
 *
 * | event | output | progress |
 * |---|---|---|
 * | what the agent says, does or asks | yes | yes |
 * | `user_message`, `steer_delivery`, `approval_resolved` | no | yes |
 * | `error` | no | unless the agent tries again (`willRetry`) |
 * | `backend_status` | no | unless it tells of the boot or of the opening of the thread |
 * | `usage` | no | no: a request that failed has one too |
 * | what the control plane writes | no | no |
 */
export function progressOf({ type, payload }: Pick<ProducedEvent, 'type' | 'payload'>): EventProgress {
  if (type === 'error' && payload.willRetry === true) return nothing;
  if (type === 'backend_status' && typeof payload.phase === 'string' && openingPhases.has(payload.phase))
    return nothing;
  return byType[type];
}
