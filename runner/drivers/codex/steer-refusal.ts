import type { SteerAnswer } from '../driver.js';
import { JsonRpcError } from './json-rpc.js';

/** What a refused `turn/steer` means (agents.md 2.1, turn/steer). A lost connection is the end of the turn. Pure. */
export function steerRefusal(error: unknown): SteerAnswer {
  if (!(error instanceof JsonRpcError)) return { answer: 'noActiveTurn' };
  const data = JSON.stringify(error.data ?? null);
  if (/activeTurnNotSteerable/i.test(data) || /not steerable|cannot steer/i.test(error.message))
    return { answer: 'notSteerable' };
  if (/no active turn|expected active turn/i.test(error.message)) return { answer: 'noActiveTurn' };
  return { answer: 'rejected', reason: error.message.slice(0, 500) };
}
