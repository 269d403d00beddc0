/** How far clocks may lie apart: leases, deadlines and tokens are compared across machines. */
export const clockToleranceMs = 5_000;

/**
 * By how much another clock is at least ahead of ours (negative: behind), when it was read between two readings of ours; 0 when it may be right.
 *
 * @param reading.resolutionMs what the other clock's text leaves open: 1,000 for an HTTP date.
 */
export function clockOffsetMs(reading: {
  readonly beforeMs: number;
  readonly afterMs: number;
  readonly theirsMs: number;
  readonly resolutionMs: number;
}): number {
  const { beforeMs, afterMs, theirsMs, resolutionMs } = reading;
  if (theirsMs > afterMs) return theirsMs - afterMs;
  if (theirsMs + resolutionMs < beforeMs) return theirsMs + resolutionMs - beforeMs;
  return 0;
}

/** The same in words: `12 s ahead of this one`; undefined while it is no more than tolerated. */
export function clockRemark(offsetMs: number): string | undefined {
  if (Math.abs(offsetMs) <= clockToleranceMs) return undefined;
  return `${Math.round(Math.abs(offsetMs) / 1_000)} s ${offsetMs > 0 ? 'ahead of' : 'behind'} this one`;
}
