/** Below this share a read is of one thing anyway. */
const smallestShare = 1 / 1_024;

/**
 * How much is read at once: all that may be, half of it after each failure, and half as much again after each success. What is too much for Postgres in
 * its time is found out so, whatever made it so, and the same read is not tried for ever.
 */
export class ReadSize {
  #share = 1;

  /** So much of `most` now, at least 1. */
  of(most: number): number {
    return Math.max(1, Math.floor(most * this.#share));
  }

  /** Carries out a read, and takes its end into account. @throws what it throws. */
  async measured<T>(read: () => Promise<T>): Promise<T> {
    try {
      const found = await read();
      this.#share = Math.min(1, this.#share * 1.5);
      return found;
    } catch (error) {
      this.#share = Math.max(smallestShare, this.#share / 2);
      throw error;
    }
  }
}
