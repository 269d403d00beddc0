import { describe, expect, test } from 'vitest';
import type { EventType } from '../../contract/events.js';
import { eventTypes } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';
import { eventSpan } from '../../domain/event-spans.js';

const rows: readonly [EventType, JsonObject, string | null, boolean][] = [
  ['error', { failureKind: 'agent-error' }, 'runner_error', true],
  ['error', {}, 'runner_error', true],
  ['terminal_status', { terminalStatus: 'completed' }, 'runner_terminal', false],
  ['terminal_status', { terminalStatus: 'failed' }, 'runner_terminal', true],
  ['terminal_status', { terminalStatus: 'blocked' }, 'runner_terminal', true],
  ['terminal_status', { terminalStatus: 'cancelled' }, 'runner_terminal', false],
  ['terminal_status', {}, 'runner_terminal', false],
  ['backend_status', { phase: 'cancel-requested' }, 'runner_cancel_requested', false],
  ['backend_status', { phase: 'turn-cancelled' }, 'runner_turn_cancelled', false],
  ['backend_status', { phase: 'command-terminal' }, 'runner_command_terminal', false],
  [
    'backend_status',
    { phase: 'command-terminal', terminalStatus: 'failed' },
    'runner_command_terminal',
    true,
  ],
  ['backend_status', { phase: 'runner-claim-accepted' }, 'runner_claim', false],
  ['backend_status', { phase: 'turn/interrupt:sent' }, 'runner_turn_interrupt', false],
  ['backend_status', { phase: 'turn-cancelled-later' }, null, false],
  ['backend_status', { phase: 'boot' }, null, false],
  ['backend_status', { phase: 7 }, null, false],
  ['backend_status', {}, null, false],
  ['agent_message', { phase: 'cancel-requested', message: 'x' }, null, false],
];

describe('the span of an event', () => {
  test.each(rows)('%s %j: %s', (type, payload, name, isError) => {
    const span = eventSpan({ type, payload });
    expect(span?.name ?? null).toBe(name);
    expect(span !== null && span.error !== null).toBe(isError);
  });

  test('what a runner chooses is in no name', () => {
    const names = new Set(
      eventTypes.flatMap((type) =>
        ['runner-claim-', 'turn/interrupt:', 'cancel-requested', ''].flatMap((phase) =>
          Array.from({ length: 50 }, (_, index) => {
            const payload = {
              phase: `${phase}${index}`,
              failureKind: `k${index}`,
              terminalStatus: `s${index}`,
            };
            return eventSpan({ type, payload })?.name ?? '';
          }),
        ),
      ),
    );
    expect([...names].sort()).toEqual([
      '',
      'runner_claim',
      'runner_error',
      'runner_terminal',
      'runner_turn_interrupt',
    ]);
  });

  test('attributes are texts of one line, bounded; anything else is left out', () => {
    const span = eventSpan({
      type: 'error',
      payload: {
        message: ` a\n${'x'.repeat(400)}`,
        failureKind: 3,
        threadId: '  ',
        willRetry: true,
        turnId: 't',
      },
    });
    expect(span?.attributes.message).toHaveLength(300);
    expect(span?.attributes.message).toMatch(/^a x+\.\.\.$/);
    expect(span?.error).toBe(span?.attributes.message);
    expect(span?.attributes).toMatchObject({
      failureKind: null,
      threadId: null,
      willRetry: true,
      turnId: 't',
    });
  });

  test('an error without a message is told by its kind, else by its name', () => {
    expect(eventSpan({ type: 'error', payload: { failureKind: 'idle-timeout' } })?.error).toBe(
      'idle-timeout',
    );
    expect(eventSpan({ type: 'error', payload: {} })?.error).toBe('runner_error');
  });
});
