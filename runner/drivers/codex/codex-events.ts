import { isAbsolute, relative, sep } from 'node:path';
import type { ProducedEvent } from '../../../contract/events.js';
import { type JsonObject, type JsonValue, jsonValueSchema } from '../../../contract/json.js';
import { maxOutputBytes, tail } from '../bounded-text.js';
import {
  itemNotificationSchema,
  type ThreadItem,
  threadItemSchema,
  turnPlanSchema,
  unknownItemSchema,
  warningSchema,
} from './codex-protocol.js';

/** Notifications that are only a sign of life: progress of something whose end is stored, or the server's own affairs. */
const activityOnly: ReadonlySet<string> = new Set([
  'thread/started',
  'thread/status/changed',
  'thread/readState/changed',
  'thread/settings/updated',
  'thread/name/updated',
  'thread/queue/changed',
  'thread/tokenUsage/updated',
  'thread/environment/connected',
  'thread/environment/disconnected',
  'turn/started',
  'turn/completed',
  'turn/diff/updated',
  'error',
  'item/commandExecution/terminalInteraction',
  'item/fileChange/patchUpdated',
  'item/mcpToolCall/progress',
  'item/reasoning/summaryPartAdded',
  'rawResponseItem/completed',
  'rawResponse/completed',
  'serverRequest/resolved',
  'account/rateLimits/updated',
  'account/updated',
  'app/list/updated',
  'skills/changed',
  'mcpServer/startupStatus/updated',
  'remoteControl/status/changed',
]);

const warnings: ReadonlySet<string> = new Set([
  'warning',
  'guardianWarning',
  'configWarning',
  'deprecationNotice',
]);

/**
 * Maps one notification of the thread to the events it means; none for a mere sign of life. Stateful things (the
 * turn's end, diff, usage, errors) are the driver's. A method or item that is unknown is kept raw (agents.md 2.1).
 * Paths of changed files inside `workspaceDirectory` become relative to it. Pure.
 */
export function codexEvents(method: string, params: unknown, workspaceDirectory: string): ProducedEvent[] {
  if (method === 'item/started' || method === 'item/completed') {
    return itemEvents(method, params, workspaceDirectory);
  }
  if (method === 'turn/plan/updated') {
    const plan = turnPlanSchema.safeParse(params).data;
    if (plan === undefined) return [rawEvent(method, params)];
    const steps = plan.plan.map((step) => ({ step: step.step, status: step.status }));
    return [
      {
        type: 'plan',
        payload: { itemId: `plan-${plan.turnId}`, explanation: plan.explanation ?? null, steps, text: null },
      },
    ];
  }
  if (warnings.has(method)) {
    const warning = warningSchema.safeParse(params).data;
    const message = warning?.message ?? warning?.summary ?? '';
    return [
      {
        type: 'backend_status',
        payload: { phase: `agent/${method}`, message, details: warning?.details ?? null },
      },
    ];
  }
  if (activityOnly.has(method) || /delta$/i.test(method)) return [];
  return [rawEvent(method, params)];
}

function itemEvents(method: string, params: unknown, workspaceDirectory: string): ProducedEvent[] {
  const notification = itemNotificationSchema.safeParse(params).data;
  if (notification === undefined) return [rawEvent(method, params)];
  const completed = method === 'item/completed';
  const item = threadItemSchema.safeParse(notification.item).data;
  if (item !== undefined) {
    const event = itemEvent(item, completed, workspaceDirectory);
    return event === null ? [] : [event];
  }
  if (!completed) return [];
  const unknown = unknownItemSchema.safeParse(notification.item).data;
  return [rawEvent(`item/${unknown?.type ?? 'unknown'}`, notification.item, unknown?.id ?? null)];
}

function itemEvent(item: ThreadItem, completed: boolean, workspaceDirectory: string): ProducedEvent | null {
  switch (item.type) {
    case 'userMessage':
      // Only a completed message is in the thread's history.
      if (!completed) return null;
      return {
        type: 'user_message',
        payload: {
          itemId: item.id,
          commandId: item.clientId ?? null,
          text: item.content.map((part) => part.text ?? `[${part.type}]`).join('\n'),
        },
      };
    case 'agentMessage':
      return completed ? { type: 'agent_message', payload: { itemId: item.id, text: item.text } } : null;
    case 'plan':
      return completed
        ? { type: 'plan', payload: { itemId: item.id, explanation: null, steps: [], text: item.text } }
        : null;
    case 'reasoning': {
      const text = [...item.summary, ...item.content].join('\n\n');
      return completed && text !== '' ? { type: 'reasoning', payload: { itemId: item.id, text } } : null;
    }
    case 'commandExecution':
      return { type: 'command_execution', payload: commandPayload(item) };
    case 'fileChange':
      return completed ? { type: 'file_change', payload: fileChangePayload(item, workspaceDirectory) } : null;
    case 'mcpToolCall':
    case 'dynamicToolCall':
    case 'collabAgentToolCall':
      return {
        type: 'tool_call',
        payload: {
          itemId: item.id,
          kind: item.type,
          server: item.server ?? item.namespace ?? null,
          tool: item.tool,
          status: item.status,
          arguments: boundedJson(item.arguments ?? item.prompt ?? null),
          result: boundedJson(item.result ?? item.contentItems ?? null),
          error: boundedJson(item.error ?? null),
          durationMs: item.durationMs ?? null,
        },
      };
    case 'webSearch':
      return {
        type: 'tool_call',
        payload: {
          itemId: item.id,
          kind: 'webSearch',
          server: null,
          tool: 'web_search',
          status: completed ? 'completed' : 'inProgress',
          arguments: { query: item.query ?? null },
          result: null,
          error: null,
          durationMs: null,
        },
      };
  }
}

function commandPayload(item: Extract<ThreadItem, { type: 'commandExecution' }>): JsonObject {
  const output =
    item.aggregatedOutput === null || item.aggregatedOutput === undefined
      ? null
      : tail(item.aggregatedOutput, maxOutputBytes);
  return {
    itemId: item.id,
    command: item.command,
    cwd: item.cwd ?? null,
    status: item.status,
    exitCode: item.exitCode ?? null,
    output: output?.text ?? null,
    durationMs: item.durationMs ?? null,
    ...(output !== null && output.omittedBytes > 0 ? { outputOmittedBytes: output.omittedBytes } : {}),
  };
}

function fileChangePayload(
  item: Extract<ThreadItem, { type: 'fileChange' }>,
  workspaceDirectory: string,
): JsonObject {
  return {
    itemId: item.id,
    status: item.status,
    changes: item.changes.map((change) => ({
      path: pathInside(workspaceDirectory, change.path),
      kind: change.kind.type,
      diff: change.diff === null || change.diff === undefined ? null : change.diff.slice(0, maxOutputBytes),
    })),
  };
}

/** A path outside of the folder stays as it is. */
function pathInside(folder: string, path: string): string {
  if (!isAbsolute(path)) return path;
  const inside = relative(folder, path);
  return inside === '' || inside === '..' || inside.startsWith(`..${sep}`) ? path : inside;
}

function rawEvent(name: string, raw: unknown, itemId: string | null = null): ProducedEvent {
  const payload: JsonObject =
    itemId === null ? { phase: `agent/${name}` } : { phase: `agent/${name}`, itemId };
  return { type: 'backend_status', payload, raw: boundedJson(jsonValueSchema.safeParse(raw).data ?? null) };
}

/** A value that would fill an event by itself becomes the beginning of its text. */
function boundedJson(value: JsonValue): JsonValue {
  const text = JSON.stringify(value);
  return text.length <= maxOutputBytes ? value : { truncated: text.slice(0, maxOutputBytes) };
}
