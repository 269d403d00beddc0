const firstDelayMs = 1_000;
const longestDelayMs = 30_000;
const healthyAfterMs = 60_000;

/** When a child that died is started again. */
export interface RestartPlan {
  /** 1 for the first restart after a healthy time. */
  readonly attempt: number;
  readonly delayMs: number;
}

/**
 * A child that died is started again after 1 s, each further time after twice as long, at most 30 s; one that has run
 * for a minute counts as healthy and starts from the beginning (issue 3, item 2).
 */
export function planRestart(died: { readonly previousAttempt: number; readonly ranMs: number }): RestartPlan {
  const attempt = died.ranMs >= healthyAfterMs ? 1 : died.previousAttempt + 1;
  return { attempt, delayMs: Math.min(longestDelayMs, firstDelayMs * 2 ** (attempt - 1)) };
}
