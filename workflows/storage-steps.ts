/** What can be done to the storage of a session, the most urgent first: a removal does not wait for looks that are queued. */
const urgency = ['delete', 'evict', 'make', 'measure'] as const;
type StepKind = (typeof urgency)[number];

interface Step {
  kind: StepKind;
  work: () => Promise<void>;
  /** Which life of the session is meant, when that matters: an id may be used again after a deletion. */
  readonly generation: string | null;
  readonly end: Promise<void>;
  readonly settle: (work: Promise<void>) => Promise<void>;
}

/** The steps of one storage workflow: one at a time, and what is the same waits once. */
export class StorageSteps {
  #waiting: Step[] = [];
  #underWay: Step | undefined;

  /** Has the step done after what is under way; whoever asks for the same before it has begun shares it. Resolves or fails as it does. */
  join(kind: StepKind, work: () => Promise<void>): Promise<void> {
    const same = this.#waiting.find((step) => step.kind === kind);
    return (same ?? this.#add(kind, null, work)).end;
  }

  /**
   * As {@link join} for a removal of a `generation`: one that has begun will do as well, a deletion does for an eviction, and an eviction that waits becomes
   * a deletion. Answers an object, so that waiting for the answer is not waiting for the end.
   */
  joinRemoval(
    kind: 'delete' | 'evict',
    generation: string,
    work: () => Promise<void>,
  ): { readonly end: Promise<void> } {
    const underWay = this.#underWay;
    if (underWay?.generation === generation && (underWay.kind === kind || underWay.kind === 'delete'))
      return underWay;
    const waiting = this.#waiting.find((step) => step.generation === generation);
    if (waiting === undefined) return this.#add(kind, generation, work);
    if (kind === 'delete') Object.assign(waiting, { kind, work });
    return waiting;
  }

  isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** A removal waits or is under way. */
  hasRemoval(): boolean {
    return [...this.#waiting, this.#underWay].some(
      (step) => step?.kind === 'delete' || step?.kind === 'evict',
    );
  }

  /** Does what waits, and what is added meanwhile, until `isEnough` between two steps. A step that fails stops no other. */
  async doWaiting(isEnough: () => boolean): Promise<void> {
    while (!isEnough()) {
      const step = this.#waiting.toSorted(byUrgency)[0];
      if (step === undefined) return;
      this.#waiting = this.#waiting.filter((other) => other !== step);
      this.#underWay = step;
      await step.settle(step.work());
      this.#underWay = undefined;
    }
  }

  #add(kind: StepKind, generation: string | null, work: () => Promise<void>): Step {
    let settle: Step['settle'] = () => Promise.resolve();
    const end = new Promise<void>((resolve, reject) => {
      settle = (done) => done.then(resolve, reject);
    });
    // Those who wait are told; that nobody waits is no fault.
    end.catch(() => undefined);
    const step: Step = { kind, work, generation, end, settle };
    this.#waiting.push(step);
    return step;
  }
}

const byUrgency = (left: Step, right: Step) => urgency.indexOf(left.kind) - urgency.indexOf(right.kind);
