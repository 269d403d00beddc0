import { type ClientLog, errorLine, pause } from '../../client/index.js';
import type { CancelStep } from '../../contract/runs.js';
import type { AgentDriver, TurnEnd } from '../drivers/driver.js';

/** The runner is deleted so long after the cancel request when its turn has not ended (contract: `cancelSchema`). */
const defaultDeadlineMs = 15_000;
const finalCleanUpMs = 2_000;

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
 * Ends a turn step by step: interrupt, end of background terminals, kill of the process group. Only what was done is told; an agent that does not do
 * the one or the other is killed. The ladder ends within the sum of its limits whatever the agent does.
 */
export async function endTurnByLadder(options: LadderOptions): Promise<void> {
  const { driver, ended, settle, limits, log } = options;
  const tell = options.onStep ?? (() => undefined);
  let over = false;
  const interrupted = driver();
  let heard: Promise<boolean> | undefined;
  if (interrupted !== undefined) {
    tell('interrupt-sent');
    heard = answered(interrupted.interrupt(), log, 'the turn was not interrupted').then((done) => {
      if (done && !over) tell('interrupt-answered');
      return done;
    });
  }
  let gone = await endedBy(ended, heard, limits.interruptMs);
  if (gone) {
    const agent = driver();
    // An interrupt leaves shell commands running (agents.md 2.1).
    if (agent?.alive === true) {
      gone = await cleanedUp(agent, limits.cleanUpMs, log);
      if (gone) tell('background-terminals-cleaned');
    }
  }
  if (!gone) {
    log.warn({ ...limits }, 'the turn did not end in time: the agent is killed');
    const agent = driver();
    agent?.kill();
    if (agent !== undefined) tell('process-group-killed');
    await endedBy(ended, undefined, limits.killMs);
    settle();
  }
  over = true;
  // One that was completed in the same moment is not cancelled any more.
  if ((await ended).status !== 'completed') tell('turn-cancelled');
}

/**
 * After a turn that ended by itself: its shell commands may run on (agents.md 2.1), and between turns nothing of the agent's may. Short, because the API
 * may have handed the next run over, for which nobody sends a heartbeat yet.
 */
export async function cleanUpOrKill(agent: AgentDriver | undefined, log: ClientLog): Promise<void> {
  if (agent?.alive !== true || (await cleanedUp(agent, finalCleanUpMs, log))) return;
  log.warn({ finalCleanUpMs }, 'the agent may have left something in the background: it is killed');
  agent.kill();
}

/** Whether the agent says within `limitMs` that nothing of it is left in the background. */
function cleanedUp(agent: AgentDriver, limitMs: number, log: ClientLog): Promise<boolean> {
  return within(answered(agent.cleanUp(), log, 'background terminals were not cleaned'), limitMs);
}

/** Whether the turn ended within `limitMs`; false as soon as the interrupt is known to have failed. */
function endedBy(
  ended: Promise<TurnEnd>,
  heard: Promise<boolean> | undefined,
  limitMs: number,
): Promise<boolean> {
  return within(
    new Promise((resolve) => {
      void ended.then(() => resolve(true));
      void heard?.then((done) => {
        if (!done) resolve(false);
      });
    }),
    limitMs,
  );
}

/** What `work` answered; false, with a log line, when it failed. */
function answered(work: Promise<boolean>, log: ClientLog, failure: string): Promise<boolean> {
  return work.catch((error: unknown) => {
    log.warn({ ...errorLine(error) }, failure);
    return false;
  });
}

/** Whether `work` answered true within `limitMs`. */
async function within(work: Promise<boolean>, limitMs: number): Promise<boolean> {
  const waited = new AbortController();
  const first = await Promise.race([work, pause(limitMs, waited.signal).then(() => false)]);
  waited.abort();
  return first;
}
