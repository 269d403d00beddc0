import { describe, expect, it } from 'vitest';
import { eventTypes, type ProducedEvent } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';
import { projectionChange } from '../../domain/event-projection.js';

const at = '2026-01-02T03:04:05.000Z';
const event = (type: ProducedEvent['type'], payload: JsonObject = {}): ProducedEvent => ({
  type,
  at,
  payload,
});
const changeOf = (...events: ProducedEvent[]) =>
  projectionChange(
    2,
    events.map((one, index) => ({ seq: 10 + index, eventId: `evt_${index}`, event: one })),
  );
const usage = (source: string, totalTokens: number) =>
  event('usage', { source, totalTokens, inputTokens: 1, cachedInputTokens: 0, outputTokens: 2 });
const retry = event('error', { willRetry: true, codexErrorInfo: 'other', message: 'Reconnecting… 1/2' });

describe('the activity of an event', () => {
  it.each<[ProducedEvent, JsonObject]>([
    [event('user_message', { itemId: 'i', text: 'do it' }), { activityKind: 'message-delivered' }],
    [event('agent_message', { itemId: 'i', text: ' a \n b ' }), { activityKind: 'message', summary: 'a b' }],
    [event('reasoning', { itemId: 'i', text: 'hm' }), { activityKind: 'reasoning' }],
    [event('plan', { itemId: 'i' }), { activityKind: 'plan' }],
    [
      event('command_execution', { itemId: 'i', command: 'npm test', status: 'inProgress' }),
      { activityKind: 'command', toolName: 'shell', status: 'inProgress', summary: 'npm test' },
    ],
    [
      event('file_change', {
        itemId: 'i',
        status: 'completed',
        changes: [{ path: 'a.ts' }, { path: 'b.ts' }],
      }),
      { activityKind: 'file-change', status: 'completed', summary: 'a.ts, b.ts' },
    ],
    [
      event('tool_call', { itemId: 'i', server: 'mcp', tool: 'search', status: 'failed' }),
      { activityKind: 'tool', toolName: 'search', status: 'failed', summary: 'mcp search' },
    ],
    [
      event('approval_requested', { itemId: 'i', kind: 'command', summary: 'may I?' }),
      { activityKind: 'request', status: 'command', summary: 'may I?' },
    ],
    [
      event('approval_resolved', { itemId: 'i', resolution: 'approved' }),
      { activityKind: 'request-resolved', status: 'approved' },
    ],
  ])('%j', (one, expected) => {
    expect(changeOf(one)?.lastActivity).toEqual({
      seq: 10,
      epoch: 2,
      at,
      eventId: 'evt_0',
      type: one.type,
      itemId: 'i',
      ...expected,
    });
  });

  it('is none for the rest, of which most change nothing at all', () => {
    const active = new Set([
      'user_message',
      'agent_message',
      'reasoning',
      'plan',
      'command_execution',
      'file_change',
      'tool_call',
      'approval_requested',
      'approval_resolved',
    ]);
    const rest = eventTypes.filter((type) => !active.has(type));
    for (const type of rest) expect(changeOf(event(type))?.lastActivity ?? null).toBeNull();
    expect(rest.filter((type) => changeOf(event(type)) !== null)).toEqual(['diff']);
  });

  it('is bounded, and cut before anything else is done with it', () => {
    const summary = changeOf(event('agent_message', { text: 'x'.repeat(1_000_000) }))?.lastActivity?.summary;
    expect(summary).toBe(`${'x'.repeat(177)}...`);
  });
});

describe('what a batch leaves behind', () => {
  it('is the last message, the last diff, the sum of requests and the last report', () => {
    const change = changeOf(
      event('agent_message', { text: 'one' }),
      event('diff', { diff: 'd1' }),
      usage('proxy', 5),
      usage('agent', 5),
      event('agent_message', { text: 'two' }),
      usage('proxy', 7),
      usage('agent', 12),
    );
    expect(change).toMatchObject({
      finalMessage: { text: 'two' },
      diff: { text: 'd1' },
      proxyUsage: { requests: 2, totalTokens: 12, inputTokens: 2, outputTokens: 4, reasoningOutputTokens: 0 },
      agentUsage: { requests: 1, totalTokens: 12 },
      lastActivity: { seq: 14 },
    });
  });

  it('is the last error and the first output after it', () => {
    const message = event('agent_message', { text: 'hi' });
    expect(changeOf(message, retry)).toMatchObject({
      lastError: { seq: 11, willRetry: true, codexErrorInfo: 'other', providerStatus: null },
      recoveredSeq: null,
      firstOutputSeq: 10,
    });
    expect(changeOf(retry, message, message)).toMatchObject({ lastError: { seq: 10 }, recoveredSeq: 11 });
    expect(changeOf(retry, message, retry)).toMatchObject({ lastError: { seq: 12 }, recoveredSeq: null });
    expect(changeOf(retry, event('user_message', { text: 'x' }))).toMatchObject({ recoveredSeq: null });
    expect(JSON.stringify(changeOf(retry)?.lastError)).not.toContain('Reconnecting');
  });

  it.each<[string, ProducedEvent, boolean]>([
    ['its word', event('error', { codexErrorInfo: 'responseStreamDisconnected' }), true],
    ['its text', event('error', { message: 'stream disconnected before completion: x' }), true],
    ['a warning', event('backend_status', { phase: 'agent/warning', message: 'connection lost' }), true],
    ['a phase', event('backend_status', { phase: 'agent/thread/environment/disconnected' }), true],
    ['a phase of ours', event('backend_status', { phase: 'transport-lost' }), true],
    ['another error', event('error', { message: 'bad request' }), false],
    ['a note that quotes one', event('backend_status', { phase: 'note', message: 'connection lost' }), false],
    ['a message that quotes one', event('agent_message', { text: 'stream disconnected' }), false],
  ])('is a disconnect by %s', (_by, one, isOne) => {
    expect(changeOf(one)?.lastDisconnect ?? null).toEqual(isOne ? { seq: 10, epoch: 2, at } : null);
  });
});
