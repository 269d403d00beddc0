import { createHash } from 'node:crypto';
import { AgentRunError } from '../contract/errors.js';
import type { JsonObject } from '../contract/json.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { storableJson } from './storable-json.js';

/** Whose key it is: keys of another tenant or route are others. */
export interface IdempotencyScope {
  readonly tenantId: string;
  readonly route: string;
  readonly key: string;
}

/** SHA-256 of a body, independent of the order of its fields. */
export function bodyHash(body: unknown): string {
  return createHash('sha256').update(canonicalJson(body)).digest('hex');
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = Object.entries(value)
    .filter(([, child]) => child !== undefined)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([key, child]) => `${JSON.stringify(key)}:${canonicalJson(child)}`);
  return `{${fields.join(',')}}`;
}

/** The error for a key that was used with another body. */
export function keyReused(key: string): AgentRunError {
  return new AgentRunError('conflict', `idempotencyKey ${key} was used with another body`);
}

/**
 * Runs `work` once per key, in one transaction with the record of its answer; a repeat answers what was stored. Calls with
 * the same key wait for each other.
 *
 * @throws AgentRunError `conflict` for the same key with another body.
 */
export async function once(
  pool: Pool,
  scope: IdempotencyScope | undefined,
  hash: string,
  work: (tx: Transaction) => Promise<JsonObject>,
): Promise<JsonObject> {
  return withTransaction(pool, async (tx) => {
    if (scope === undefined) return work(tx);
    const names = [scope.tenantId, scope.route, scope.key];
    await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [JSON.stringify(names)]);
    const stored = await tx.query<{ body_hash: string; answer: JsonObject }>(
      'select body_hash, answer from idempotency_keys where tenant_id = $1 and route = $2 and idempotency_key = $3',
      names,
    );
    const earlier = stored.rows[0];
    if (earlier !== undefined) {
      if (earlier.body_hash !== hash) throw keyReused(scope.key);
      return earlier.answer;
    }
    const answer = await work(tx);
    await tx.query(
      'insert into idempotency_keys (tenant_id, route, idempotency_key, body_hash, answer) values ($1, $2, $3, $4, $5)',
      [...names, hash, storableJson(answer)],
    );
    return answer;
  });
}
