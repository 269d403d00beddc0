import type {
  AgentRequestState,
  CommandState,
  QueueTaskState,
  RunStatus,
  TerminalStatus,
} from '../contract/states.js';

/** Which states may follow each state. A state without followers is final. */
export type StateTable<State extends string> = Readonly<Record<State, readonly State[]>>;

/** An attempt has no outcome, and then exactly one. */
export type AttemptOutcomeState = 'none' | TerminalStatus;

const none: readonly never[] = [];
const final = { completed: none, failed: none, blocked: none, cancelled: none } as const;
const terminal = ['completed', 'failed', 'blocked', 'cancelled'] as const;

/**
 * A run (decisions.md, States). A claim makes it `claimed`, the first acknowledged turn `running`; only the turn's finish makes it terminal, and what no
 * runner ever claimed cannot have been completed. An attempt after the first changes nothing here.
 *
 * | from | to |
 * |---|---|
 * | `pending` | `claimed`, `failed`, `blocked`, `cancelled` |
 * | `claimed` | `running`, `completed`, `failed`, `blocked`, `cancelled` |
 * | `running` | `completed`, `failed`, `blocked`, `cancelled` |
 * | a terminal state | - |
 */
export const runTransitions: StateTable<RunStatus> = {
  pending: ['claimed', 'failed', 'blocked', 'cancelled'],
  claimed: ['running', ...terminal],
  running: terminal,
  ...final,
};

/** Outcome of an attempt: none, then the first writer's word, for good. */
export const attemptOutcomeTransitions: StateTable<AttemptOutcomeState> = { none: terminal, ...final };

/**
 * A command. What was delivered or withdrawn before its acknowledgement came ends from `pending`.
 *
 * | from | to |
 * |---|---|
 * | `pending` | `acknowledged`, `completed`, `failed`, `blocked`, `cancelled` |
 * | `acknowledged` | `completed`, `failed`, `blocked`, `cancelled` |
 * | a terminal state | - |
 */
export const commandTransitions: StateTable<CommandState> = {
  pending: ['acknowledged', ...terminal],
  acknowledged: terminal,
  ...final,
};

/**
 * A queue task. Its state follows its run's; a run that is over before anyone looked makes it terminal from `dispatched`. Only what was never begun
 * expires.
 *
 * | from | to |
 * |---|---|
 * | `queued` | `dispatched`, `failed`, `cancelled`, `expired` |
 * | `dispatched` | `running`, `completed`, `failed`, `blocked`, `cancelled`, `expired` |
 * | `running` | `completed`, `failed`, `blocked`, `cancelled` |
 * | a terminal state, `expired` | - |
 */
export const queueTaskTransitions: StateTable<QueueTaskState> = {
  queued: ['dispatched', 'failed', 'cancelled', 'expired'],
  dispatched: ['running', ...terminal, 'expired'],
  running: terminal,
  ...final,
  expired: none,
};

/** A request of the agent: only a pending one changes, and once (docs/adr/0012). */
export const agentRequestTransitions: StateTable<AgentRequestState> = {
  pending: ['approved', 'denied', 'answered', 'timed-out', 'no-channel', 'superseded', 'withdrawn'],
  approved: none,
  denied: none,
  answered: none,
  'timed-out': none,
  'no-channel': none,
  superseded: none,
  withdrawn: none,
};

/** What a write of `to` over `from` is: a change, a repeat that answers the record (200), or 409 `conflict`. */
export type Transition = 'change' | 'same' | 'conflict';

/**
 * May `to` follow `from`? The first matching row wins.
 *
 * | # | condition | answer |
 * |---|---|---|
 * | 1 | `to` is `from` | `same` |
 * | 2 | the table lists `to` behind `from` | `change` |
 * | 3 | else | `conflict` |
 */
export function transitionOf<State extends string>(
  table: StateTable<State>,
  from: State,
  to: State,
): Transition {
  if (from === to) return 'same';
  return table[from].includes(to) ? 'change' : 'conflict';
}
