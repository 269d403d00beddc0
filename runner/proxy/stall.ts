/** A limit on waiting for the next sign of life. Each `within` begins anew. */
export class Stall {
  readonly #onStall: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(onStall: () => void) {
    this.#onStall = onStall;
  }

  within(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#onStall, ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
