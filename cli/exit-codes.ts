/** Exit codes of the `agentrun` command, as its help says them. `up` has 3 for "already running" beside these. */
export const exitCodes = {
  ok: 0,
  /** The turn or task ended otherwise than completed, a session has no turn, or something unforeseen happened. */
  failed: 1,
  /** Wrong arguments or configuration; also a request that the API calls invalid (400). */
  usage: 2,
  /** The API refused: not found, conflict, busy, not allowed. */
  refused: 4,
  /** The API cannot be reached or is not available now. */
  unavailable: 5,
  /** A watch that Ctrl-C, or a SIGTERM, ended: how the turn ends is not known. */
  interrupted: 130,
  terminated: 143,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
