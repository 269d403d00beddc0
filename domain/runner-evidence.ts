import type { ProducedEvent } from '../contract/events.js';

/**
 * A runner's event as the log keeps it. `terminal_status` ends a log and is written with the run's end only (architecture.md 4.2): a runner that says so,
 * as old ones do, is kept as evidence, a `backend_status` of phase `runner-terminal` with what it said.
 */
export function keptEvent(event: ProducedEvent): ProducedEvent {
  if (event.type !== 'terminal_status') return event;
  return { ...event, type: 'backend_status', payload: { phase: 'runner-terminal', said: event.payload } };
}
