/** How often a stream may be connected anew (requirements.md A.1.b 41 and 42). */
export interface BudgetLimits {
  /** Failures one after another of one kind; default 9, which is about a minute. */
  readonly attemptsInARow: number;
  /** Failures in all; default 30. */
  readonly attemptsInAll: number;
}

/** No connection, one that broke or fell silent, or a refusal that passes: `transport`. A frame in which the server reports that it failed: `server`. */
export type StreamFailure = 'transport' | 'server';

/** What is to be done after a failure: try again later, or give up. */
export type AfterFailure =
  | { readonly kind: 'wait'; readonly attempt: number; readonly delayMs: number }
  | { readonly kind: 'exhausted'; readonly attempts: number };

const defaultBudget: BudgetLimits = { attemptsInARow: 9, attemptsInAll: 30 };
const unlimited: BudgetLimits = {
  attemptsInARow: Number.POSITIVE_INFINITY,
  attemptsInAll: Number.POSITIVE_INFINITY,
};

/** Quick at first, since most cuts are short. */
const delaysMs = [500, 500, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000] as const;
const longestDelayMs = 30_000;
const jitter = 0.2;
/** A wrong Retry-After holds nobody forever. */
const longestRetryAfterMs = 60_000;
/** A connection that lived so long was a good one. */
const healthyMs = 60_000;
/** Connections that are rotated faster than this are spaced out. */
const shortLifeMs = 2_000;
const rotationDelayMs = 100;
const longestRotationDelayMs = 5_000;

/** Counts the failures of one stream and says how long to wait after each. Pure but for `random`. */
export class ReconnectBudget {
  readonly #limits: BudgetLimits;
  readonly #random: () => number;
  readonly #inARow: Record<StreamFailure, number> = { transport: 0, server: 0 };
  #inAll = 0;
  #quickRotations = 0;
  #triedFreshToken = false;

  constructor(limits: Partial<BudgetLimits> | 'unlimited' = {}, random: () => number = Math.random) {
    this.#limits = limits === 'unlimited' ? unlimited : { ...defaultBudget, ...limits };
    this.#random = random;
  }

  /** The server has let the reader in. */
  connected(): void {
    this.#triedFreshToken = false;
  }

  /** The connection lives. */
  heardKeepalive(): void {
    this.#inARow.transport = 0;
  }

  /** The stream goes on. */
  heardEvent(): void {
    this.#inARow.transport = 0;
    this.#inARow.server = 0;
    this.#inAll = 0;
  }

  /** `connectedForMs`: how long the connection lived that failed, 0 if there was none. A Retry-After is the lower bound of the delay. */
  failed(
    kind: StreamFailure,
    after: { readonly connectedForMs: number; readonly retryAfterSeconds?: number | undefined },
  ): AfterFailure {
    if (after.connectedForMs >= healthyMs) this.#inAll = 0;
    this.#inARow[kind] += 1;
    this.#inAll += 1;
    const attempt = this.#inARow[kind];
    if (attempt > this.#limits.attemptsInARow) return { kind: 'exhausted', attempts: attempt - 1 };
    if (this.#inAll > this.#limits.attemptsInAll) return { kind: 'exhausted', attempts: this.#inAll - 1 };
    const step = delaysMs[attempt - 1] ?? longestDelayMs;
    const lowest = Math.min(longestRetryAfterMs, (after.retryAfterSeconds ?? 0) * 1_000);
    const delayMs = Math.max(
      step * (1 - jitter + 2 * jitter * this.#random()),
      // Spread too: whoever was told the same time does not come back at the same time.
      lowest * (1 + jitter * this.#random()),
    );
    return { kind: 'wait', attempt, delayMs: Math.round(delayMs) };
  }

  /** How long to wait until the token is read once more, in milliseconds: once per connection that was let in, then undefined. Costs no attempt. */
  unauthorized(): number | undefined {
    if (this.#triedFreshToken) return undefined;
    this.#triedFreshToken = true;
    return Math.round(delaysMs[0] * (1 - jitter + 2 * jitter * this.#random()));
  }

  /**
   * How long to wait after a rotation, in milliseconds: next to nothing, and it costs no attempt. Where one connection after another is rotated as soon as it
   * is open, up to 5 s.
   */
  rotated(connectedForMs: number): number {
    this.#quickRotations = connectedForMs < shortLifeMs ? this.#quickRotations + 1 : 0;
    const longest = Math.min(
      longestRotationDelayMs,
      rotationDelayMs * 2 ** Math.min(this.#quickRotations, 10),
    );
    return Math.round(longest * this.#random());
  }
}
