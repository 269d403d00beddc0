import type { EventType, ProducedEvent, UsagePayload } from '../contract/events.js';
import type { JsonObject, JsonValue } from '../contract/json.js';
import { progressOf } from './event-progress.js';
import { bounded } from './run-facts.js';

/** An event with the place that it gets in the log. */
export interface PlacedEvent {
  readonly seq: number;
  readonly eventId: string;
  readonly event: ProducedEvent;
}

export const usageCounters = [
  'inputTokens',
  'cachedInputTokens',
  'outputTokens',
  'reasoningOutputTokens',
  'totalTokens',
] as const satisfies readonly (keyof UsagePayload)[];

/** Tokens, and how many requests (of the proxy) or reports (of the agent) they come from. */
export type UsageSum = { requests: number } & Record<(typeof usageCounters)[number], number>;

/** What a batch of events changes in its run's projection; null where it says nothing. `at` is absent when the event carries no time. */
export interface ProjectionChange {
  /** `text` is null for an event without one: the last event counts, not the last text. */
  readonly finalMessage: { readonly text: string | null } | null;
  readonly diff: { readonly text: string | null } | null;
  /** Sum over the batch's requests. */
  readonly proxyUsage: UsageSum | null;
  /** The agent's last report of its totals. */
  readonly agentUsage: UsageSum | null;
  readonly lastActivity: JsonObject | null;
  readonly lastError: JsonObject | null;
  /** First output after `lastError`, when that is of this batch. */
  readonly recoveredSeq: number | null;
  /** First output of the batch: it recovers an error of an earlier batch. */
  readonly firstOutputSeq: number | null;
  readonly lastDisconnect: JsonObject | null;
}

type Activity = Pick<JsonObject, 'activityKind'> &
  Partial<Record<'status' | 'toolName' | 'summary', string | null>>;

/**
 * What a batch of events of one epoch changes in the projection of its run (docs/adr/0014); null when nothing. Every kind of event here:
 *
 * | event | activity kind | summary | also |
 * |---|---|---|---|
 * | `user_message` | `message-delivered` | - | |
 * | `agent_message` | `message` | its text | final message; recovers an error |
 * | `reasoning` | `reasoning` | - | recovers |
 * | `plan` | `plan` | - | recovers |
 * | `command_execution` | `command` | the command | recovers |
 * | `file_change` | `file-change` | the paths | recovers |
 * | `tool_call` | `tool` | the tool | recovers |
 * | `approval_requested` | `request` | its one line | recovers |
 * | `approval_resolved` | `request-resolved` | the resolution | |
 * | `diff` | - | | the diff |
 * | `usage` | - | | tokens by source |
 * | `error` with `willRetry` | - | | the last error; a disconnect, if it says that a connection was lost |
 * | `error` without it, `backend_status` | - | | a disconnect, if it says that a connection was lost |
 *
 * Activity is what resets the idle limit (decisions.md, Timeouts): errors and retry notes are none.
 */
export function projectionChange(epoch: number, events: readonly PlacedEvent[]): ProjectionChange | null {
  const change: { -readonly [Key in keyof ProjectionChange]: ProjectionChange[Key] } = {
    finalMessage: null,
    diff: null,
    proxyUsage: null,
    agentUsage: null,
    lastActivity: null,
    lastError: null,
    recoveredSeq: null,
    firstOutputSeq: null,
    lastDisconnect: null,
  };
  const placeOf = ({ seq, event: { at } }: PlacedEvent): JsonObject => ({
    seq,
    epoch,
    ...(at === undefined ? {} : { at }),
  });
  // Of the activities of a batch one is shown, so only one is put into words.
  const active = events.findLast(({ event: { type } }) => activities[type] !== undefined);
  if (active !== undefined) {
    const { type, payload } = active.event;
    const itemId = textOf(payload.itemId);
    change.lastActivity = {
      ...placeOf(active),
      eventId: active.eventId,
      type,
      itemId,
      ...activities[type]?.(payload),
    };
  }
  for (const placed of events) {
    const { seq, event } = placed;
    const { type, payload } = event;
    // A diff is made of the workspace at the end of a turn too: it says nothing of the model.
    if (type !== 'diff' && progressOf({ type, payload }).isOutput) {
      change.firstOutputSeq ??= seq;
      if (change.lastError !== null) change.recoveredSeq ??= seq;
    }
    if (type === 'agent_message') change.finalMessage = { text: textOf(payload.text) };
    if (type === 'diff') change.diff = { text: textOf(payload.diff) };
    if (type === 'usage') {
      if (payload.source === 'proxy') change.proxyUsage = addUsage(change.proxyUsage, payload);
      if (payload.source === 'agent') change.agentUsage = addUsage(null, payload);
    }
    if (type === 'error' && typeof payload.willRetry === 'boolean') {
      change.lastError = { ...placeOf(placed), willRetry: payload.willRetry, ...errorWords(payload) };
      change.recoveredSeq = null;
    }
    if (saysDisconnected(type, payload)) change.lastDisconnect = placeOf(placed);
  }
  return Object.values(change).every((part) => part === null) ? null : change;
}

const activities: Readonly<Partial<Record<EventType, (payload: JsonObject) => Activity>>> = {
  user_message: () => ({ activityKind: 'message-delivered' }),
  agent_message: ({ text }) => ({ activityKind: 'message', summary: lineOf(text) }),
  reasoning: () => ({ activityKind: 'reasoning' }),
  plan: () => ({ activityKind: 'plan' }),
  command_execution: ({ status, command }) => ({
    activityKind: 'command',
    status: textOf(status),
    toolName: 'shell',
    summary: lineOf(command),
  }),
  file_change: ({ status, changes }) => ({
    activityKind: 'file-change',
    status: textOf(status),
    summary: lineOf(pathsOf(changes)),
  }),
  tool_call: ({ status, server, tool }) => ({
    activityKind: 'tool',
    status: textOf(status),
    toolName: lineOf(tool),
    summary: lineOf([server, tool].filter((word) => typeof word === 'string').join(' ')),
  }),
  approval_requested: ({ kind, summary }) => ({
    activityKind: 'request',
    status: textOf(kind),
    summary: lineOf(summary),
  }),
  approval_resolved: ({ resolution }) => ({ activityKind: 'request-resolved', status: textOf(resolution) }),
};

/** A connection was lost: the agent's word for it, or its text where it has none. */
function saysDisconnected(type: EventType, payload: JsonObject): boolean {
  if (type !== 'error' && type !== 'backend_status') return false;
  const phase = textOf(payload.phase) ?? '';
  const word = textOf(payload.codexErrorInfo) ?? '';
  if (/disconnected$|^transport-lost$/.test(phase) || /^responseStream.*(Disconnected|Failed)$/.test(word)) {
    return true;
  }
  // Other notes of ours may quote such a text; a warning of the agent is its own word.
  if (type === 'backend_status' && !/^agent\/.*warning$/i.test(phase)) return false;
  const message = textOf(payload.message) ?? '';
  return /stream disconnected|stream closed before|connection (was )?(lost|closed|reset|refused)|idle timeout waiting for sse/i.test(
    message,
  );
}

/** The kinds and the numbers of an error, not its text: an upstream body may be quoted there. */
function errorWords(payload: JsonObject): JsonObject {
  return {
    codexErrorInfo: lineOf(payload.codexErrorInfo),
    providerStatus: typeof payload.providerStatus === 'number' ? payload.providerStatus : null,
  };
}

function addUsage(sum: UsageSum | null, payload: JsonObject): UsageSum {
  const added: UsageSum = {
    requests: (sum?.requests ?? 0) + 1,
    inputTokens: 0,
    cachedInputTokens: 0,
    outputTokens: 0,
    reasoningOutputTokens: 0,
    totalTokens: 0,
  };
  for (const counter of usageCounters) added[counter] = (sum?.[counter] ?? 0) + numberOf(payload[counter]);
  return added;
}

function pathsOf(changes: JsonValue | undefined): string {
  if (!Array.isArray(changes)) return '';
  return changes
    .map((change) =>
      typeof change === 'object' && change !== null && !Array.isArray(change) ? textOf(change.path) : null,
    )
    .filter((path) => path !== null)
    .join(', ');
}

const textOf = (value: JsonValue | undefined) => (typeof value === 'string' ? value : null);
const numberOf = (value: JsonValue | undefined) =>
  typeof value === 'number' && Number.isFinite(value) ? value : 0;

/** One line of at most 180 units (contract.md 7.3); null when there is none. The text is cut first: a message may be megabytes. */
function lineOf(value: JsonValue | undefined): string | null {
  const text = textOf(value);
  if (text === null) return null;
  return bounded(text.slice(0, 2_000), 180) || null;
}
