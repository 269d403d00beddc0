import type { EventType, ProducedEvent } from '../../contract/events.js';
import type { Progress } from '../../contract/runners.js';

/** What only an agent at work says; a thread that was opened and a message that was taken are not output yet. */
const outputTypes: ReadonlySet<EventType> = new Set<EventType>([
  'agent_message',
  'reasoning',
  'plan',
  'command_execution',
  'file_change',
  'tool_call',
]);

export type TurnPhase =
  | 'starting-agent'
  | 'opening-thread'
  | 'compacting'
  | 'sending-prompt'
  | 'running'
  | 'finishing';

/** How far the agent of one attempt has come, as its heartbeats tell. */
export class TurnProgress {
  phase: TurnPhase = 'starting-agent';
  #lastEventAt: string | null = null;
  #notifications = 0;
  #outputSeen = false;

  /** `waiting`: a person is awaited, whatever else goes on. */
  report(waiting: boolean): Progress {
    return {
      phase: waiting && this.phase !== 'finishing' ? 'waiting' : this.phase,
      lastEventAt: this.#lastEventAt,
      notifications: this.#notifications,
      outputSeen: this.#outputSeen,
    };
  }

  event(event: ProducedEvent): void {
    if (isSilent(event)) return;
    this.#lastEventAt = new Date().toISOString();
    if (outputTypes.has(event.type)) this.#outputSeen = true;
  }

  /** A sign of life that is no event. */
  activity(): void {
    this.#notifications += 1;
    this.#lastEventAt = new Date().toISOString();
  }

  /** The model said something: a part of its answer passed the proxy. */
  output(): void {
    this.#outputSeen = true;
    this.activity();
  }
}

/** What says nothing of an agent at work: what a request to its provider cost, and that it tries one again (decisions.md: idle). */
function isSilent({ type, payload }: ProducedEvent): boolean {
  return (type === 'usage' && payload.source === 'proxy') || (type === 'error' && payload.willRetry === true);
}
