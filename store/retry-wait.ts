const firstMs = 100;

/** How long to wait after so many failures in a row, in milliseconds: twice as long each time up to `longestMs`, and up to half of it less. */
export function retryWaitMs(failures: number, longestMs: number): number {
  return Math.min(longestMs, firstMs * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
}
