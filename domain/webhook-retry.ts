/** POSTs of one generation of a delivery; after the last it is a dead letter. */
export const webhookTries = 10;
export const firstRetryMs = 5_000;
export const retryFactor = 3;
export const longestRetryMs = 21_600_000;

/**
 * The pause after a try that failed: 5 s × 3 up to 6 h, about ten hours in all, with a fifth more or less so that messages of one moment do not come
 * back together. A receiver may ask for a longer one, up to 6 h.
 *
 * @param tries made so far, from 1.
 * @param random from 0 to 1.
 */
export function webhookRetryDelayMs({
  tries,
  retryAfterMs,
  random,
}: {
  readonly tries: number;
  readonly retryAfterMs: number | null;
  readonly random: number;
}): number {
  const usualMs = Math.min(longestRetryMs, firstRetryMs * retryFactor ** (tries - 1));
  const askedMs = Math.min(longestRetryMs, retryAfterMs ?? 0);
  return Math.round(Math.max(usualMs * (0.8 + 0.4 * random), askedMs));
}
