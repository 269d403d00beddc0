import type { ProducedEvent } from '../../../contract/events.js';
import type { ThreadHistory } from '../driver.js';
import { codexEvents } from './codex-events.js';
import {
  type ItemEntry,
  itemsPageSchema,
  type RecordedTurn,
  turnsPageSchema,
  userMessageItemSchema,
} from './codex-protocol.js';
import { turnEndOf } from './codex-turn.js';

type Request = (method: string, params: unknown) => Promise<unknown>;

/** Codex keeps at most some 64 KiB of a command's output, so a page is some megabytes at most. */
const pageSize = 100;
/** Items whose events are told of the last turn, the newest of them. */
const maxEvents = 2_000;
/** Items that are looked at for the ids of our messages. An older message counts as not in the thread. */
const maxItems = 20_000;
const maxTurnPages = 20;

export interface ReadHistory {
  readonly history: ThreadHistory;
  /** How many. */
  readonly items: number;
}

/**
 * Reads what a thread holds, newest first: the ids of our messages, and the newest turn that holds one of them (a compaction is a turn without a
 * message, and is passed over). Beyond 20,000 items it stops; when these do not reach to the beginning of that turn, the ids are not known (null): a
 * message that was not seen would be sent again. Of the last turn the events of the newest 2,000 items are told.
 *
 * @throws JsonRpcError, JsonRpcConnectionError, ZodError: without the history nobody knows what was delivered.
 */
export async function readThreadHistory(
  request: Request,
  threadId: string,
  workspaceDirectory: string,
): Promise<ReadHistory> {
  const messageIds = new Set<string>();
  const lastTurn = new LastTurn();
  let cursor: unknown = null;
  let items = 0;
  do {
    const params = { threadId, limit: pageSize, sortDirection: 'desc', cursor };
    const page = itemsPageSchema.parse(await request('thread/items/list', params));
    for (const entry of page.data) {
      const messageId = messageIdOf(entry.item);
      if (messageId !== null) messageIds.add(messageId);
      lastTurn.add(entry, messageId);
    }
    items += page.data.length;
    cursor = page.data.length === 0 ? null : (page.nextCursor ?? null);
  } while (cursor !== null && items < maxItems);

  const recorded = lastTurn.id === null ? null : await findTurn(request, threadId, lastTurn.id);
  return {
    items,
    history: {
      truncated: cursor !== null,
      messageIds: cursor === null || lastTurn.whole ? messageIds : null,
      lastTurn:
        recorded === null
          ? null
          : {
              // A turn that ran when its process died is `interrupted`; nothing runs in a thread that was just opened.
              end: turnEndOf(
                recorded.status === 'inProgress' ? { ...recorded, status: 'interrupted' } : recorded,
                null,
                null,
              ),
              messageIds: lastTurn.messageIds,
              events: lastTurn.events(workspaceDirectory),
            },
    },
  };
}

/** The record of a turn, looked for among the newest ones; null when it is not there. */
export async function findTurn(
  request: Request,
  threadId: string,
  turnId: string,
): Promise<RecordedTurn | null> {
  let cursor: unknown = null;
  for (let pages = 0; pages < maxTurnPages; pages += 1) {
    const params = { threadId, limit: 20, sortDirection: 'desc', itemsView: 'notLoaded', cursor };
    const page = turnsPageSchema.parse(await request('thread/turns/list', params));
    const found = page.data.find((turn) => turn.id === turnId);
    if (found !== undefined) return found;
    cursor = page.nextCursor ?? null;
    if (cursor === null || page.data.length === 0) return null;
  }
  return null;
}

function messageIdOf(item: unknown): string | null {
  return userMessageItemSchema.safeParse(item).data?.clientId ?? null;
}

/** Collects the newest turn that holds a message of ours out of items that come newest first. */
class LastTurn {
  readonly messageIds = new Set<string>();
  /** Newest first. */
  #entries: ItemEntry[] = [];
  #turnId: string | null = null;
  #omitted = 0;
  #whole = false;

  /** An item of an older turn was seen. */
  get whole(): boolean {
    return this.#whole;
  }

  get id(): string | null {
    return this.messageIds.size === 0 ? null : this.#turnId;
  }

  add(entry: ItemEntry, messageId: string | null): void {
    if (entry.turnId !== this.#turnId) {
      if (this.messageIds.size > 0) {
        this.#whole = true;
        return;
      }
      this.#turnId = entry.turnId;
      this.#entries = [];
      this.#omitted = 0;
    }
    if (messageId !== null) this.messageIds.add(messageId);
    if (this.#entries.length < maxEvents) this.#entries.push(entry);
    else this.#omitted += 1;
  }

  /** Oldest first, with the times of the items. */
  events(workspaceDirectory: string): ProducedEvent[] {
    const events: ProducedEvent[] = [];
    if (this.#omitted > 0) {
      const payload = { phase: 'thread-history-truncated', omittedItems: this.#omitted };
      events.push({ type: 'backend_status', payload });
    }
    for (const { turnId, item, completedAtMs } of this.#entries.toReversed()) {
      const params = { threadId: '', turnId, item };
      for (const event of codexEvents('item/completed', params, workspaceDirectory)) {
        const at = isoTime(completedAtMs ?? null);
        events.push(at === null ? event : { ...event, at });
      }
    }
    return events;
  }
}

function isoTime(epochMs: number | null): string | null {
  return epochMs !== null && epochMs > 0 && epochMs < 4e12 ? new Date(epochMs).toISOString() : null;
}
