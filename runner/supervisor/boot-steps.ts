import type { ProducedEvent } from '../../contract/events.js';
import type { RunTrace } from './run-trace.js';
import type { TurnPhase, TurnProgress } from './turn-progress.js';

type BootPhase = Extract<TurnPhase, 'starting-agent' | 'opening-thread' | 'compacting' | 'sending-prompt'>;

interface BootStep {
  readonly name: BootPhase;
  readonly startedAt: string;
  readonly endedAt: string;
}

/**
 * The steps from claim to a working agent, each with its start and end, so that a slow or hanging one is known by name (requirements.md A.1.f 68).
 * Heartbeats name the step that goes on; one event names all that are over.
 */
export class BootSteps {
  readonly #progress: TurnProgress;
  readonly #trace: Pick<RunTrace, 'step'>;
  readonly #steps: BootStep[] = [];

  constructor(progress: TurnProgress, trace: Pick<RunTrace, 'step'>) {
    this.#progress = progress;
    this.#trace = trace;
  }

  async run<T>(name: BootPhase, work: () => Promise<T>): Promise<T> {
    this.#progress.phase = name;
    const startedAt = new Date().toISOString();
    try {
      return await this.#trace.step(`boot_${name.replaceAll('-', '_')}`, work);
    } finally {
      this.#steps.push({ name, startedAt, endedAt: new Date().toISOString() });
    }
  }

  event(): ProducedEvent {
    return {
      type: 'backend_status',
      payload: { phase: 'boot', steps: this.#steps.map((step) => ({ ...step })) },
    };
  }
}
