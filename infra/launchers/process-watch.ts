/** How often processes that are not children of this one are looked at. */
const pollMs = 500;

/**
 * Tells when the state of watched runners changes: at once for a child of this process ({@link ProcessWatch.changed}), by one shared timer for the
 * others, which a former worker started. The timer runs only while something is watched.
 */
export class ProcessWatch {
  readonly #stateOf: (jobName: string) => string;
  readonly #watched = new Map<string, { state: string; readonly callbacks: Set<() => void> }>();
  #timer: NodeJS.Timeout | undefined;

  /** `stateOf` is a look at the process itself; it must not throw. */
  constructor(stateOf: (jobName: string) => string) {
    this.#stateOf = stateOf;
  }

  /** Calls `onChange` after each change until the returned function is called. */
  watch(jobName: string, onChange: () => void): () => void {
    const watched = this.#watched.get(jobName) ?? { state: this.#stateOf(jobName), callbacks: new Set() };
    // Its own function, so that the same callback may watch twice.
    const callback = () => onChange();
    watched.callbacks.add(callback);
    this.#watched.set(jobName, watched);
    this.#timer ??= setInterval(() => this.#look(), pollMs).unref();
    return () => {
      watched.callbacks.delete(callback);
      if (watched.callbacks.size === 0 && this.#watched.get(jobName) === watched)
        this.#watched.delete(jobName);
      if (this.#watched.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  /** Something happened to the runner: its watchers look now. */
  changed(jobName: string): void {
    const watched = this.#watched.get(jobName);
    if (watched === undefined) return;
    watched.state = this.#stateOf(jobName);
    for (const callback of watched.callbacks) callback();
  }

  #look(): void {
    for (const [jobName, watched] of this.#watched) {
      if (this.#stateOf(jobName) !== watched.state) this.changed(jobName);
    }
  }
}
