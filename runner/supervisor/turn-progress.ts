import type { ProducedEvent } from '../../contract/events.js';
import type { Progress } from '../../contract/runners.js';
import { progressOf } from '../../domain/event-progress.js';

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
    const { isOutput, isProgress } = progressOf(event);
    if (isProgress) this.#lastEventAt = new Date().toISOString();
    if (isOutput) this.#outputSeen = true;
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
