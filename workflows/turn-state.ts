import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  patched,
  setCurrentDetails,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import type { FirstAttempt } from '../domain/send-plan.js';
import { createRecords } from './activity-proxies.js';
import { stateKey, type TurnInput } from './messages.js';

/** What a turn's workflow holds in memory: nothing that decides, only where it is and who wants its attention. */
export class TurnState {
  readonly input: TurnInput;
  readonly records: RecordActivities = createRecords();
  attempt: FirstAttempt | null = null;
  steers = 0;
  #wakeUps = 0;
  #rounds = 0;
  #shown: string | undefined;
  #cancelRequested = false;
  readonly #onCancel = new Set<() => void>();

  constructor(input: TurnInput) {
    this.input = input;
  }

  /** A cancel is stored for the run. */
  get cancelRequested(): boolean {
    return this.#cancelRequested;
  }

  /** Counts the reasons to look again: take it before a look, compare it while waiting. */
  get wakeUps(): number {
    return this.#wakeUps;
  }

  wake(): void {
    this.#wakeUps += 1;
  }

  noteCancel(): void {
    this.#cancelRequested = true;
    this.wake();
    for (const cancel of this.#onCancel) cancel();
  }

  /** Shows where the turn is: in the details of the Temporal UI, and as search attribute when it changes. */
  show(state: string, details = state): void {
    if (state !== this.#shown) upsertSearchAttributes([{ key: stateKey, value: state }]);
    this.#shown = state;
    const { attempt } = this;
    const which = attempt === null ? 'no attempt' : `attempt ${attempt.epoch} of ${attempt.maxAttempts}`;
    setCurrentDetails(`${details}; ${which}; steers ${this.steers}`);
  }

  /** Runs `work` and cancels it when a cancel of the turn is asked for; answers `cancelled` then. */
  async unlessCancelled<T>(work: () => Promise<T>): Promise<T | 'cancelled'> {
    // Histories of 0.1.0 went on with what they were at.
    const isCancellable = () => patched('cancel-ends-launch-and-stop');
    if (this.#cancelRequested && isCancellable()) return 'cancelled';
    const scope = new CancellationScope();
    const cancel = () => {
      if (isCancellable()) scope.cancel();
    };
    this.#onCancel.add(cancel);
    try {
      return await scope.run(work);
    } catch (error) {
      if (isCancellation(error) && this.#cancelRequested) return 'cancelled';
      throw error;
    } finally {
      this.#onCancel.delete(cancel);
    }
  }

  /**
   * Continues as new when the history of a turn with very many attempts or looks at a park has grown: called where nothing is under way. The next
   * execution reads where the run stands.
   */
  async continueAsNewIfFull(): Promise<void> {
    this.#rounds += 1;
    const { maxRounds } = this.input;
    const isFull =
      workflowInfo().continueAsNewSuggested || (maxRounds !== undefined && this.#rounds >= maxRounds);
    if (!isFull) return;
    await condition(allHandlersFinished);
    const { first: _told, ...input } = this.input;
    await continueAsNew(input);
  }
}
