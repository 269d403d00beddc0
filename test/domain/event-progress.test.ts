import { describe, expect, it, test } from 'vitest';
import { type EventType, eventTypes } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';
import { progressOf } from '../../domain/event-progress.js';

describe('what an event counts for', () => {
  test.each<[EventType, JsonObject, boolean, boolean]>([
    ['agent_message', {}, true, true],
    ['reasoning', {}, true, true],
    ['plan', {}, true, true],
    ['command_execution', { status: 'inProgress' }, true, true],
    ['file_change', {}, true, true],
    ['tool_call', {}, true, true],
    ['diff', {}, true, true],
    ['approval_requested', {}, true, true],
    ['approval_resolved', {}, false, true],
    ['user_message', {}, false, true],
    ['steer_delivery', {}, false, true],
    ['error', { willRetry: true }, false, false],
    ['error', { willRetry: false }, false, true],
    ['error', {}, false, true],
    ['usage', { source: 'proxy', httpStatus: 429 }, false, false],
    ['usage', { source: 'agent' }, false, false],
    ['backend_status', { phase: 'boot' }, false, false],
    ['backend_status', { phase: 'thread-opened' }, false, false],
    ['backend_status', { phase: 'thread-lost' }, false, false],
    ['backend_status', { phase: 'thread-history-truncated' }, false, false],
    ['backend_status', { phase: 'thread-compaction', status: 'completed' }, false, true],
    ['backend_status', { phase: 'interrupt-sent' }, false, true],
    ['backend_status', {}, false, true],
    ['attempt_started', {}, false, false],
    ['budget', {}, false, false],
    ['event_truncated', {}, false, false],
    ['events_lost', {}, false, false],
    ['storage', {}, false, false],
    ['terminal_status', {}, false, false],
    ['timeout_warning', {}, false, false],
  ])('%s %j: output %s, progress %s', (type, payload, isOutput, isProgress) => {
    expect(progressOf({ type, payload })).toEqual({ isOutput, isProgress });
  });

  it('output is always progress, for every type', () => {
    for (const type of eventTypes) {
      const { isOutput, isProgress } = progressOf({ type, payload: {} });
      expect(!isOutput || isProgress).toBe(true);
    }
  });
});
