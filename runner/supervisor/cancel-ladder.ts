import { type ClientLog, errorLine, pause } from '../../client/index.js';
import type { CancelStep } from '../../contract/runs.js';
import type { AgentDriver, TurnEnd } from '../drivers/driver.js';

/** The runner is deleted so long after the cancel request when its turn has not ended (contract: `cancelSchema`). */
const defaultDeadlineMs = 15_000;

/** How long each step of ending a turn may take, in milliseconds. */
export interface LadderLimits {
  /** From the interrupt until the processes are killed. */
  readonly interruptMs: number;
  /** For the end of what the agent left in the background. */
  readonly cleanUpMs: number;
  /** From the kill until the turn is settled without the agent. */
  readonly killMs: number;
}

/**
 * The limits of a cancel: the interrupt has a third of the deadline, at most 5 s (decisions.md, Timeouts); the other steps together another third, so
 * that the report still comes before the runner is deleted. Pure.
 */
export function cancelLimits(deadlineMs: number | null): LadderLimits {
  const third = (deadlineMs ?? defaultDeadlineMs) / 3;
  return {
    interruptMs: Math.min(5_000, third),
    cleanUpMs: Math.min(2_000, third / 2),
    killMs: Math.min(3_000, third / 2),
  };
}

export interface LadderOptions {
  /** The agent, as soon as there is one. */
  readonly driver: () => AgentDriver | undefined;
  /** The end of the turn. */
  readonly ended: Promise<TurnEnd>;
  /** Ends the turn without the agent's word; without effect on one that has ended. */
  readonly settle: () => void;
  readonly limits: LadderLimits;
  readonly onStep?: (step: CancelStep) => void;
  readonly log: ClientLog;
}

/**
 * Ends a turn step by step: interrupt, end of background terminals, kill of the process group. Each step that was taken is told, and the ladder ends
 * within the sum of its limits whatever the agent does.
 */
export async function endTurnByLadder(options: LadderOptions): Promise<void> {
  const { driver, ended, settle, limits, log } = options;
  const tell = options.onStep ?? (() => undefined);
  let over = false;
  const interrupted = driver();
  if (interrupted !== undefined) {
    tell('interrupt-sent');
    interrupted.interrupt().then(
      () => {
        if (!over) tell('interrupt-answered');
      },
      (error: unknown) => log.warn({ ...errorLine(error) }, 'the turn was not interrupted'),
    );
  }
  let gone = await within(ended, limits.interruptMs);
  if (gone) {
    const agent = driver();
    // An interrupt leaves shell commands running (agents.md 2.1).
    if (agent?.alive === true) {
      gone = await within(agent.cleanUp(), limits.cleanUpMs).catch((error: unknown) => {
        log.warn({ ...errorLine(error) }, 'background terminals were not cleaned');
        return false;
      });
      if (gone) tell('background-terminals-cleaned');
    }
  }
  if (!gone) {
    log.warn({ ...limits }, 'the turn did not end in time: the agent is killed');
    const agent = driver();
    agent?.kill();
    if (agent !== undefined) tell('process-group-killed');
    await within(ended, limits.killMs);
    settle();
  }
  over = true;
  // One that was completed in the same moment is not cancelled any more.
  if ((await ended).status !== 'completed') tell('turn-cancelled');
}

/** Whether `promise` resolved within `limitMs`; its rejection is passed on. */
async function within(promise: Promise<unknown>, limitMs: number): Promise<boolean> {
  const waited = new AbortController();
  const first = await Promise.race([
    promise.then(() => true),
    pause(limitMs, waited.signal).then(() => false),
  ]);
  waited.abort();
  return first;
}
