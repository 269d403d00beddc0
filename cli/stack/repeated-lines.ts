/** Lines that differ only in the attempt say the same. */
const sameness = (line: string) => line.replace(/\battempt \d+/g, 'attempt');

/**
 * Keeps an outage from flooding the terminal: the first of several lines that say the same is written at once; those
 * of the next `windowMs` become one line with their number at its end, and so on while they go on.
 */
export class RepeatedLines {
  readonly #write: (line: string) => void;
  readonly #windowMs: number;
  readonly #windows = new Map<string, { latest: string; repeats: number; timer: NodeJS.Timeout }>();

  constructor(write: (line: string) => void, windowMs = 10_000) {
    this.#write = write;
    this.#windowMs = windowMs;
  }

  add(line: string): void {
    const key = sameness(line);
    const window = this.#windows.get(key);
    if (window === undefined) {
      this.#write(line);
      this.#beginWindow(key, line);
      return;
    }
    window.latest = line;
    window.repeats += 1;
  }

  /** Forgets what was held back. */
  clear(): void {
    for (const { timer } of this.#windows.values()) clearTimeout(timer);
    this.#windows.clear();
  }

  #beginWindow(key: string, line: string): void {
    const timer = setTimeout(() => this.#endWindow(key), this.#windowMs);
    timer.unref();
    this.#windows.set(key, { latest: line, repeats: 0, timer });
  }

  #endWindow(key: string): void {
    const ended = this.#windows.get(key);
    this.#windows.delete(key);
    if (ended === undefined || ended.repeats === 0) return;
    this.#write(ended.repeats === 1 ? ended.latest : `${ended.latest} … (${ended.repeats} times)`);
    this.#beginWindow(key, ended.latest);
  }
}
