import type { TokenTotals } from './codex-protocol.js';

const zero = {
  totalTokens: 0,
  inputTokens: 0,
  cachedInputTokens: 0,
  outputTokens: 0,
  reasoningOutputTokens: 0,
};
type Totals = { readonly [Name in keyof typeof zero]: number };

/**
 * Tokens of the running turn as the difference of the thread's own totals (agents.md 2.1, Token usage): what is
 * replayed on resume is the baseline, and a drop of the total (compaction) is a new one.
 */
export class CodexUsage {
  #latest: Totals = zero;
  #baseline: Totals = zero;
  #beforeDrop: Totals = zero;

  /** The turn begins: what was counted before it is not its own. */
  beginTurn(): void {
    this.#baseline = this.#latest;
    this.#beforeDrop = zero;
  }

  /** A total that belongs to no turn of ours: replayed on resume. */
  replay(total: TokenTotals): void {
    this.#latest = total;
    this.#baseline = total;
  }

  /** A new total within the turn; answers the turn's usage so far. */
  update(total: TokenTotals): Totals {
    if (isDrop(this.#latest, total)) {
      this.#beforeDrop = this.#turnSoFar();
      this.#baseline = total;
    }
    this.#latest = total;
    return this.#turnSoFar();
  }

  #turnSoFar(): Totals {
    return add(this.#beforeDrop, subtract(this.#latest, this.#baseline));
  }
}

/**
 * A total never shrinks by itself: compaction starts anew, and a full context window overwrites the total with the size
 * of the window and the parts with 0.
 */
function isDrop(before: Totals, after: Totals): boolean {
  return (
    after.totalTokens < before.totalTokens ||
    after.inputTokens < before.inputTokens ||
    after.outputTokens < before.outputTokens
  );
}

function add(left: Totals, right: Totals): Totals {
  return combine(left, right, (a, b) => a + b);
}

function subtract(left: Totals, right: Totals): Totals {
  return combine(left, right, (a, b) => Math.max(0, a - b));
}

function combine(left: Totals, right: Totals, operation: (a: number, b: number) => number): Totals {
  return {
    totalTokens: operation(left.totalTokens, right.totalTokens),
    inputTokens: operation(left.inputTokens, right.inputTokens),
    cachedInputTokens: operation(left.cachedInputTokens, right.cachedInputTokens),
    outputTokens: operation(left.outputTokens, right.outputTokens),
    reasoningOutputTokens: operation(left.reasoningOutputTokens, right.reasoningOutputTokens),
  };
}
