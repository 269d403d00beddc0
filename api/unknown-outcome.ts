import { AgentRunError } from '../contract/errors.js';
import type { JsonObject } from '../contract/json.js';

/** Says of `unavailable` that what was asked for may still happen, with `details {outcome: 'unknown', ...}`; any other error is left as it is. */
export function unknownOutcome(error: unknown, details: JsonObject): unknown {
  if (!(error instanceof AgentRunError) || error.failureKind !== 'unavailable') return error;
  return new AgentRunError('unavailable', error.message, {
    details: { outcome: 'unknown', ...details },
    retryAfterSeconds: error.retryAfterSeconds ?? 2,
    cause: error,
  });
}
