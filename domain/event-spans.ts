import type { ProducedEvent } from '../contract/events.js';
import type { JsonObject, JsonValue } from '../contract/json.js';
import { bounded } from './run-facts.js';

/** Value of a span's attribute; null ones are left out. */
export type SpanAttribute = string | number | boolean | null;

/** A span that tells of something that happened: its name is one of a closed list, everything else is an attribute. */
export interface SpanDescription {
  readonly name: string;
  /** What was wrong, for the span's status; null: nothing. */
  readonly error: string | null;
  readonly attributes: Readonly<Record<string, SpanAttribute>>;
}

const longestMessage = 300;

/** Phases with a span of their own (contract.md 8.6); one that ends with a sign is the beginning of a phase. */
const phaseSpans: readonly { readonly phase: string; readonly name: string }[] = [
  { phase: 'cancel-requested', name: 'runner_cancel_requested' },
  { phase: 'turn-cancelled', name: 'runner_turn_cancelled' },
  { phase: 'command-terminal', name: 'runner_command_terminal' },
  { phase: 'runner-claim-', name: 'runner_claim' },
  { phase: 'turn/interrupt:', name: 'runner_turn_interrupt' },
];

/**
 * The span that an event of a runner has, null for most events (contract.md 8.6). The part of the old names that a runner
 * chooses is an attribute here (oddity 48): `runner_error.<kind>` is `runner_error` with `failureKind`.
 *
 * | event | span |
 * |---|---|
 * | `error` | `runner_error` |
 * | `terminal_status` | `runner_terminal` |
 * | `backend_status` of phase `cancel-requested`, `turn-cancelled`, `command-terminal` | `runner_cancel_requested`, `runner_turn_cancelled`, `runner_command_terminal` |
 * | `backend_status` of a phase `runner-claim-…` | `runner_claim` |
 * | `backend_status` of a phase `turn/interrupt:…` | `runner_turn_interrupt` |
 * | any other | - |
 *
 * An `error`, and everything with `terminalStatus` `failed` or `blocked`, is an error.
 */
export function eventSpan({
  type,
  payload,
}: Pick<ProducedEvent, 'type' | 'payload'>): SpanDescription | null {
  const name = spanName(type, payload);
  if (name === null) return null;
  const terminalStatus = text(payload.terminalStatus);
  const failureKind = text(payload.failureKind);
  const message = text(payload.message);
  const isError = type === 'error' || terminalStatus === 'failed' || terminalStatus === 'blocked';
  return {
    name,
    error: isError ? (message ?? failureKind ?? name) : null,
    attributes: {
      eventType: type,
      phase: text(payload.phase),
      terminalStatus,
      failureKind,
      commandId: text(payload.commandId),
      attemptId: text(payload.attemptId),
      runnerId: text(payload.runnerId),
      threadId: text(payload.threadId),
      turnId: text(payload.turnId),
      willRetry: typeof payload.willRetry === 'boolean' ? payload.willRetry : null,
      message,
    },
  };
}

function spanName(type: ProducedEvent['type'], payload: JsonObject): string | null {
  if (type === 'error') return 'runner_error';
  if (type === 'terminal_status') return 'runner_terminal';
  const phase = type === 'backend_status' ? text(payload.phase) : null;
  if (phase === null) return null;
  const found = phaseSpans.find((one) =>
    /\w$/.test(one.phase) ? phase === one.phase : phase.startsWith(one.phase),
  );
  return found?.name ?? null;
}

/** A text that is not blank, cut off; null for anything else. */
function text(value: JsonValue | undefined): string | null {
  return typeof value === 'string' && value.trim() !== '' ? bounded(value, longestMessage) : null;
}
