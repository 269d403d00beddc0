import { AgentRunError } from '../contract/errors.js';
import type { RouteRequest } from './route.js';

/** Tells that an answer is the one of an earlier request with the same key. */
export const replayedHeader = 'Idempotency-Replayed';

/**
 * The key of a request: the `Idempotency-Key` header and the keys of the body mean the same. Of several in a body the first counts (contract.md 3.6.1).
 *
 * @throws AgentRunError `schema-invalid` when header and body name different keys.
 */
export function requestKey(
  header: string | null,
  inBody: Readonly<Record<string, string | undefined>> = {},
): string | null {
  const [name, key] = Object.entries(inBody).find(([, value]) => value !== undefined) ?? [];
  if (name === undefined || key === undefined) return header;
  if (header !== null && header !== key) {
    throw new AgentRunError(
      'schema-invalid',
      `Idempotency-Key and ${name}: expected the same key or one of them`,
      {
        details: {
          issues: [{ path: name, expected: 'the key of the header Idempotency-Key', received: 'another' }],
        },
      },
    );
  }
  return key;
}

/** Marks an answer that repeats an earlier one. */
export function markReplayed(
  request: Pick<RouteRequest<unknown, unknown, unknown>, 'setHeader'>,
  replayed: boolean,
): void {
  if (replayed) request.setHeader(replayedHeader, 'true');
}
