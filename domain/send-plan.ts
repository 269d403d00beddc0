import type { Launcher } from '../contract/runs.js';
import type { WhenBusy } from '../contract/sessions.js';

/** What a session looks like when a message arrives; read from Postgres under the session's row lock. */
export interface SendFacts {
  readonly session: 'unknown' | 'present' | 'archived' | 'evicted' | 'deleted';
  /** The run that the session's one active turn belongs to, if any. */
  readonly activeRun: {
    readonly runId: string;
    /** While open, a steer may be inserted (architecture.md 4.1). */
    readonly isOpen: boolean;
    readonly isTerminal: boolean;
    readonly cancelRequested: boolean;
  } | null;
  /** Turns that wait behind the active one. */
  readonly queuedTurns: number;
}

export type TurnReason =
  | 'no-session'
  | 'no-active-turn'
  | 'turn-ended'
  | 'queued-behind'
  | 'asked-to-queue'
  | 'interrupts';

/** The decision about a message. `queued`: the turn waits for the active one; `interrupt`: which is cancelled first. */
export type SendVerdict =
  | { readonly kind: 'steer'; readonly runId: string; readonly reason: 'active-turn-running' }
  | {
      readonly kind: 'turn';
      readonly queued: boolean;
      readonly interrupt: boolean;
      readonly reason: TurnReason;
    }
  | {
      readonly kind: 'refuse';
      readonly failureKind: 'session-busy' | 'session-store-evicted' | 'conflict' | 'not-found';
      readonly message: string;
    };

/**
 * Steer or turn? The first matching row wins. Asked by the API for its plan (advice) and by the session workflow's step
 * under the row locks (binding): architecture.md 4.1; contract.md 3.6.3 with the improvements of its oddities 2 and 4.
 *
 * | # | session | active run | others queued | whenBusy | verdict |
 * |---|---|---|---|---|---|
 * | 1 | evicted | any | any | any | refuse `session-store-evicted` |
 * | 1a | archived | any | any | any | refuse `conflict` |
 * | 1b | being deleted | any | any | any | refuse `not-found` |
 * | 2 | unknown | none | - | any | turn, `no-session` |
 * | 3 | present | none or terminal | none | any | turn, `no-active-turn` |
 * | 4 | present | any | any | reject | refuse `session-busy` |
 * | 5 | present | any | any | queue | turn, queued, `asked-to-queue` |
 * | 6 | present | not terminal, no cancel asked | any | interrupt | turn, queued, interrupting, `interrupts` |
 * | 7 | present | open, no cancel asked | any | steer | steer |
 * | 8 | present | not terminal, closed to steers | any | steer, interrupt | turn, queued, `turn-ended` |
 * | 9 | present | none or terminal | some | steer, interrupt | turn, queued, `queued-behind` |
 */
export function decideSend(facts: SendFacts, whenBusy: WhenBusy): SendVerdict {
  if (facts.session === 'evicted') {
    return {
      kind: 'refuse',
      failureKind: 'session-store-evicted',
      message: 'the storage of this session was evicted; use a new session id',
    };
  }
  if (facts.session === 'archived') {
    return {
      kind: 'refuse',
      failureKind: 'conflict',
      message: 'this session is archived; unarchive it to go on',
    };
  }
  if (facts.session === 'deleted')
    return { kind: 'refuse', failureKind: 'not-found', message: 'this session does not exist' };
  const active = facts.activeRun !== null && !facts.activeRun.isTerminal ? facts.activeRun : null;
  if (active === null && facts.queuedTurns === 0) {
    const reason = facts.session === 'unknown' ? 'no-session' : 'no-active-turn';
    return { kind: 'turn', queued: false, interrupt: false, reason };
  }
  if (whenBusy === 'reject') {
    return { kind: 'refuse', failureKind: 'session-busy', message: 'a turn of this session is active' };
  }
  if (whenBusy === 'queue') return { kind: 'turn', queued: true, interrupt: false, reason: 'asked-to-queue' };
  if (active === null) return { kind: 'turn', queued: true, interrupt: false, reason: 'queued-behind' };
  const receives = active.isOpen && !active.cancelRequested;
  if (whenBusy === 'interrupt' && !active.cancelRequested) {
    return { kind: 'turn', queued: true, interrupt: true, reason: 'interrupts' };
  }
  if (whenBusy === 'steer' && receives) {
    return { kind: 'steer', runId: active.runId, reason: 'active-turn-running' };
  }
  return { kind: 'turn', queued: true, interrupt: false, reason: 'turn-ended' };
}

/** The decision about a message as the session's step stored it; what the `send` Update answers. */
export type SendDecision =
  | { readonly decision: 'steer'; readonly runId: string; readonly commandId: string }
  | {
      /** The message answered a request of the agent; the row decides, the command tells the runner (docs/adr/0012). */
      readonly decision: 'answer';
      readonly runId: string;
      readonly commandId: string;
      readonly requestId: string;
    }
  | {
      readonly decision: 'turn';
      readonly runId: string;
      readonly commandId: string;
      readonly queued: boolean;
      readonly launcher: Launcher;
      /** The turn's first attempt, prepared in the same transaction; null while the turn waits. */
      readonly first: FirstAttempt | null;
      /** The run that this message cancelled (`whenBusy: interrupt`): its turn is woken, it may be parked. */
      readonly interrupts?: string;
    }
  | { readonly decision: 'refused'; readonly failureKind: string; readonly message: string };

/** What a turn's workflow needs to know of an attempt that is prepared already. */
export interface FirstAttempt {
  readonly epoch: number;
  readonly jobName: string;
  readonly reused: boolean;
  readonly launcher: Launcher;
  readonly maxAttempts: number;
}
