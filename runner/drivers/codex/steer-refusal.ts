import type { SteerAnswer } from '../driver.js';
import { JsonRpcError } from './json-rpc.js';

/** JSON-RPC 2.0, "Invalid Request" and "Invalid params". */
const invalidRequestCode = -32_600;
const invalidParamsCode = -32_602;
/** What Codex 0.169 says of an input that it can never take; it uses "Invalid Request" for passing states too. */
const invalidInput = /must not be empty|exceeds the maximum length|invalid input/i;

/**
 * What a failed `turn/steer` means (agents.md 2.1, turn/steer). Only the message's own faults are a refusal for good; all other errors pass (an
 * overload, an internal error), and it is tried again while the turn runs. Without an answer nobody knows. Pure.
 */
export function steerRefusal(error: unknown): SteerAnswer {
  if (!(error instanceof JsonRpcError)) return { answer: 'unknown' };
  const { code, message } = error;
  if (/no active turn|expected active turn/i.test(message)) return { answer: 'noActiveTurn' };
  if (code === invalidParamsCode || (code === invalidRequestCode && invalidInput.test(message)))
    return { answer: 'rejected', reason: message.slice(0, 500) };
  return { answer: 'notSteerable' };
}
