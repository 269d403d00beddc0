import type { LadderLimits } from './cancel-ladder.js';

/**
 * On SIGTERM, in this order: the turn has `ladder` to end, everything until its report is through `reportMs`, one flush of it `flushMs`, and the process
 * `allMs`; agent-host ends the agent as soon as it is gone. All of it lies within the grace of whoever sent the signal.
 */
export const stopLimits: {
  readonly ladder: LadderLimits;
  readonly flushMs: number;
  readonly reportMs: number;
  readonly allMs: number;
} = {
  ladder: { interruptMs: 2_500, cleanUpMs: 500, killMs: 500 },
  flushMs: 1_500,
  reportMs: 6_500,
  allMs: 8_000,
};
