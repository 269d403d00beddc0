import type { TextPiece } from '../driver.js';
import {
  itemNotificationSchema,
  summaryPartSchema,
  textDeltaSchema,
  threadItemSchema,
} from './codex-protocol.js';

/**
 * The text that a notification adds to a message, or to the summary of reasoning, that the agent is writing; null for all others. An item that begins
 * again after its stream broke (agents.md 2.1, Duplicates) restarts. Pure.
 */
export function codexText(method: string, params: unknown): TextPiece | null {
  switch (method) {
    case 'item/agentMessage/delta':
    case 'item/reasoning/summaryTextDelta': {
      const delta = textDeltaSchema.safeParse(params).data;
      return delta === undefined ? null : { itemId: delta.itemId, text: delta.delta, restarts: false };
    }
    case 'item/reasoning/summaryPartAdded': {
      const part = summaryPartSchema.safeParse(params).data;
      // As the parts are joined in the event.
      return part === undefined || part.summaryIndex === 0
        ? null
        : { itemId: part.itemId, text: '\n\n', restarts: false };
    }
    case 'item/started': {
      const item = threadItemSchema.safeParse(itemNotificationSchema.safeParse(params).data?.item).data;
      return item?.type === 'agentMessage' || item?.type === 'reasoning'
        ? { itemId: item.id, text: '', restarts: true }
        : null;
    }
    default:
      return null;
  }
}
