import type { DriverContext, TurnEnd } from '../driver.js';
import { codexEvents } from './codex-events.js';
import {
  errorNotificationSchema,
  itemNotificationSchema,
  patchUpdatedSchema,
  threadItemSchema,
  threadStatusSchema,
  tokenUsageNotificationSchema,
  turnCompletedSchema,
  turnDiffSchema,
  turnStartedSchema,
} from './codex-protocol.js';
import { serverRequestResolvedSchema } from './codex-request-protocol.js';
import { codexText } from './codex-text.js';
import { type ActiveTurn, changeKey, errorEvent, recordedEnd, turnObservation } from './codex-turn.js';
import type { CodexUsage } from './codex-usage.js';
import type { Compaction } from './compaction.js';
import type { AnnouncedChange } from './shown-request.js';

export interface CodexNotificationsOptions {
  readonly context: DriverContext;
  readonly usage: CodexUsage;
  readonly threadId: () => string | undefined;
  readonly turn: () => ActiveTurn | undefined;
  readonly compaction: () => Compaction | undefined;
  readonly onTurnEnd: (turn: ActiveTurn, end: TurnEnd) => void;
  /** `serverRequest/resolved` for a request of Codex, by its id. */
  readonly onRequestResolved: (id: string | number) => void;
}

/** Reads what Codex tells, and keeps the running turn's state by it. Every notification but a retry note is activity (agents.md 2.1,
 * Exit). */
export class CodexNotifications {
  readonly #options: CodexNotificationsOptions;

  constructor(options: CodexNotificationsOptions) {
    this.#options = options;
  }

  handle(method: string, params: unknown): void {
    const { listener, workspaceDirectory } = this.#options.context;
    // A note that Codex tries again is no progress (decisions.md, Timeouts).
    if (method !== 'error' || errorNotificationSchema.safeParse(params).data?.willRetry !== true)
      listener.onActivity();
    switch (method) {
      case 'thread/tokenUsage/updated':
        this.#tokenUsage(params);
        return;
      case 'turn/started':
        this.#turnStarted(params);
        return;
      case 'turn/completed':
        this.#turnCompleted(params);
        return;
      case 'turn/diff/updated':
        this.#turnDiff(params);
        return;
      case 'thread/status/changed':
        this.#threadStatus(params);
        return;
      case 'error':
        this.#error(params);
        return;
      case 'serverRequest/resolved': {
        const resolved = serverRequestResolvedSchema.safeParse(params).data;
        if (resolved !== undefined) this.#options.onRequestResolved(resolved.requestId);
        return;
      }
      default:
        // Of all threads: a subagent's patch is asked about here too.
        if (method === 'item/started') this.#announced(params);
        if (method === 'item/fileChange/patchUpdated') this.#patchUpdated(params);
        if (!this.#isOurs(params)) return;
        this.#text(method, params);
        for (const event of codexEvents(method, params, workspaceDirectory)) {
          const turn = this.#options.turn();
          if (
            turn !== undefined &&
            event.type === 'user_message' &&
            event.payload.commandId === turn.messageId
          )
            turn.promptSeen = true;
          listener.onEvent(event);
        }
    }
  }

  #text(method: string, params: unknown): void {
    const piece = codexText(method, params);
    if (piece !== null) this.#options.context.listener.onText?.(piece);
  }

  /** Subagents are threads of their own; their items are activity, not part of this transcript. */
  #isOurs(params: unknown): boolean {
    if (typeof params !== 'object' || params === null || !('threadId' in params)) return true;
    const threadId = this.#options.threadId();
    return params.threadId === null || threadId === undefined || params.threadId === threadId;
  }

  #tokenUsage(params: unknown): void {
    const update = tokenUsageNotificationSchema.safeParse(params).data;
    if (update === undefined || !this.#isOurs(update)) return;
    const { usage, context } = this.#options;
    const { total } = update.tokenUsage;
    const turnId = this.#options.turn()?.id ?? null;
    if (turnId === null || update.turnId !== turnId) {
      usage.replay(total);
      return;
    }
    context.listener.onEvent({ type: 'usage', payload: { source: 'agent', ...usage.update(total) } });
  }

  #turnStarted(params: unknown): void {
    const started = turnStartedSchema.safeParse(params).data;
    if (started === undefined || !this.#isOurs(started)) return;
    this.#options.compaction()?.turnStarted(started.turn.id);
    const turn = this.#options.turn();
    if (turn !== undefined) turn.id ??= started.turn.id;
  }

  #turnCompleted(params: unknown): void {
    const completed = turnCompletedSchema.safeParse(params).data;
    if (completed === undefined || !this.#isOurs(completed)) return;
    this.#options.compaction()?.turnEnded(completed.turn.id, completed.turn.status);
    const turn = this.#options.turn();
    if (turn === undefined || (turn.id !== null && completed.turn.id !== turn.id)) return;
    const end = recordedEnd(turn, completed.turn, this.#options.context.lastObservation());
    this.#options.onTurnEnd(turn, end);
  }

  #turnDiff(params: unknown): void {
    const update = turnDiffSchema.safeParse(params).data;
    const turn = this.#options.turn();
    if (update !== undefined && turn !== undefined && this.#isOurs(update)) turn.diff = update.diff;
  }

  #error(params: unknown): void {
    const notification = errorNotificationSchema.safeParse(params).data;
    if (notification === undefined || !this.#isOurs(notification)) return;
    const { context } = this.#options;
    const turn = this.#options.turn();
    if (turn !== undefined && !notification.willRetry) turn.error = notification.error;
    const observation = turnObservation(turn, context.lastObservation());
    context.listener.onEvent(errorEvent(notification.error, notification.willRetry, observation));
  }

  #threadStatus(params: unknown): void {
    const changed = threadStatusSchema.safeParse(params).data;
    const turn = this.#options.turn();
    if (changed === undefined || turn === undefined || !this.#isOurs(changed)) return;
    // A turn that has no id yet has not begun: the idle status is of the one before.
    if (turn.id !== null && ['idle', 'systemError'].includes(changed.status.type)) turn.watchdog.idle();
    else turn.watchdog.active();
  }

  /** A patch says what it changes when it begins; the request to approve it does not. */
  #announced(params: unknown): void {
    const notification = itemNotificationSchema.safeParse(params).data;
    const item = threadItemSchema.safeParse(notification?.item).data;
    if (notification === undefined || item?.type !== 'fileChange') return;
    this.#keepChanges(notification.threadId, item.id, item.changes);
  }

  #patchUpdated(params: unknown): void {
    const updated = patchUpdatedSchema.safeParse(params).data;
    if (updated !== undefined) this.#keepChanges(updated.threadId, updated.itemId, updated.changes);
  }

  #keepChanges(
    threadId: string,
    itemId: string,
    changes: readonly {
      path: string;
      kind: { type: string; move_path?: string | null | undefined };
      diff?: string | null | undefined;
    }[],
  ): void {
    const announced = changes.map(
      ({ path, kind, diff }): AnnouncedChange => ({
        path,
        kind: kind.type,
        movedTo: kind.move_path ?? null,
        diff: diff ?? null,
      }),
    );
    this.#options.turn()?.changes.set(changeKey(threadId, itemId), announced);
  }
}
