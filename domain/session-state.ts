import type { SessionExecutionState } from '../contract/states.js';

/** What a session is doing (decisions.md, States). `waiting` comes with questions to a person. */
export function executionStateOf(facts: {
  readonly evicted: boolean;
  readonly activeRunStatus: string | null;
  readonly queuedTurns: number;
}): SessionExecutionState {
  if (facts.activeRunStatus === 'running') return 'running';
  if (facts.activeRunStatus !== null) return 'starting';
  if (facts.evicted) return 'evicted';
  return facts.queuedTurns > 0 ? 'starting' : 'idle';
}

/** What a reader should know first. Both `failed` and `unread` end when the reader marks the session read. */
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
