/** Exit codes of the `agentrun` command, as its help says them. `up` has 3 for "already running" and 130 beside these. */
export const exitCodes = {
  ok: 0,
  /** The turn or task ended otherwise than completed, or something unforeseen happened. */
  failed: 1,
  /** Wrong arguments or configuration; also a request that the API calls invalid (400). */
  usage: 2,
  /** The API refused: not found, conflict, busy, not allowed. */
  refused: 4,
  /** The API cannot be reached or is not available now. */
  unavailable: 5,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
