import { AgentRunError } from '../contract/errors.js';
import type { JsonObject } from '../contract/json.js';

/**
 * Says of `unavailable` that what was asked for may still happen, with `details {outcome: 'unknown', ...}` and, if given, in other words; any other error
 * is left as it is.
 */
export function unknownOutcome(error: unknown, details: JsonObject, message?: string): unknown {
  if (!(error instanceof AgentRunError) || error.failureKind !== 'unavailable') return error;
  return new AgentRunError('unavailable', message ?? error.message, {
    details: { outcome: 'unknown', ...details },
    retryAfterSeconds: error.retryAfterSeconds ?? 2,
    cause: error,
  });
}
