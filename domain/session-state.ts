import type { SessionExecutionState } from '../contract/states.js';

/**
 * What a session is doing (decisions.md, States). The first matching row wins.
 *
 * | # | condition | state |
 * |---|---|---|
 * | 1 | its active turn waits for a person | `waiting` |
 * | 2 | its active turn is running | `running` |
 * | 3 | it has an active turn | `starting` |
 * | 4 | its storage was evicted | `evicted` |
 * | 5 | turns wait | `starting` |
 * | 6 | else | `idle` |
 */
export function executionStateOf(facts: {
  readonly evicted: boolean;
  readonly activeRunStatus: string | null;
  /** A request of the active turn's agent is pending, also while the turn is parked for it. */
  readonly needsInput: boolean;
  readonly queuedTurns: number;
}): SessionExecutionState {
  if (facts.activeRunStatus !== null && facts.needsInput) return 'waiting';
  if (facts.activeRunStatus === 'running') return 'running';
  if (facts.activeRunStatus !== null) return 'starting';
  if (facts.evicted) return 'evicted';
  return facts.queuedTurns > 0 ? 'starting' : 'idle';
}

/**
 * What a reader should know first. The first matching row wins; `failed` and `unread` end when the reader marks the session read.
 *
 * | # | condition | attention |
 * |---|---|---|
 * | 1 | the session waits for a person | `needs-input` |
 * | 2 | a turn is active or queued | `active-session` |
 * | 3 | the reader has seen the last turn's end | `none` |
 * | 4 | the last turn failed or was blocked | `failed` |
 * | 5 | else | `unread` |
 */
export function attentionOf(facts: {
  readonly executionState: SessionExecutionState;
  readonly lastTerminalStatus: string | null;
  readonly unread: boolean;
}): 'none' | 'unread' | 'active-session' | 'needs-input' | 'failed' {
  if (facts.executionState === 'waiting') return 'needs-input';
  if (facts.executionState === 'running' || facts.executionState === 'starting') return 'active-session';
  if (!facts.unread) return 'none';
  return facts.lastTerminalStatus === 'failed' || facts.lastTerminalStatus === 'blocked'
    ? 'failed'
    : 'unread';
}
