import { createHash } from 'node:crypto';
import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { storableJson } from './storable-json.js';

/** Whose key it is: keys of another tenant or route are others. */
export interface IdempotencyScope {
  readonly tenantId: string;
  /** Method and path, with what the path names: `POST /api/v1/runs`. */
  readonly route: string;
  readonly key: string;
}

/** How long a key is remembered, in days; afterwards it is a new one. */
export const keyLifeDays = 7;

/** Expired keys that a new one takes along: more than one, so that they never pile up. */
const expiredPerKey = 10;

/** An answer, and whether it is the one of an earlier request with the same key. */
export interface OnceAnswer {
  /** As JSON gives it back: the caller parses it, a replayed one with {@link storedAnswer}. */
  readonly answer: unknown;
  readonly replayed: boolean;
}

/**
 * SHA-256 of a body, independent of the order of its fields. It is of what the contract's schema made of the body, so keys of earlier versions replay only
 * while that stays: a field that comes later and has a default is left out here while it has it (test/api/old-keys.test.ts holds hashes of 0.1.0).
 */
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

/**
 * A stored answer as the contract has it now. One that an earlier version stored may lack fields that came later: these are taken from the record as it is
 * now, everything else stays the first answer.
 */
export async function storedAnswer<Answer>(
  schema: z.ZodType<Answer>,
  answer: unknown,
  readNow: () => Promise<unknown>,
): Promise<Answer> {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const now = await readNow();
  const paths = parsed.error.issues.map(({ path }) => path);
  return schema.parse(paths.reduce((filled, path) => filledIn(filled, now, path), answer));
}

/** Which record a stored answer is about. */
export const storedIdSchema = z.object({ id: z.string() });

const fieldsSchema = z.record(z.string(), z.unknown());

function filledIn(value: unknown, now: unknown, [name, ...rest]: readonly PropertyKey[]): unknown {
  if (name === undefined) return now;
  const [fields, fieldsNow] = [fieldsSchema.safeParse(value).data, fieldsSchema.safeParse(now).data];
  if (typeof name !== 'string' || fields === undefined || fieldsNow === undefined) return value;
  return { ...fields, [name]: filledIn(fields[name], fieldsNow[name], rest) };
}

/** The error for a key that was used with another body. */
export function keyReused(key: string): AgentRunError {
  return new AgentRunError('conflict', `idempotency key ${key} was used with another body`, {
    details: { idempotencyKey: key },
  });
}

/**
 * Runs `work` once per key, in one transaction with the record of its answer; a repeat answers what was stored. Calls with
 * the same key wait for each other. A key older than {@link keyLifeDays} is forgotten.
 *
 * @throws AgentRunError `conflict` for the same key with another body.
 */
export async function once(
  pool: Pool,
  scope: IdempotencyScope | undefined,
  hash: string,
  work: (tx: Transaction) => Promise<object>,
): Promise<OnceAnswer> {
  return withTransaction(pool, async (tx) => {
    if (scope === undefined) return { answer: await work(tx), replayed: false };
    const names = [scope.tenantId, scope.route, scope.key];
    await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [JSON.stringify(names)]);
    const stored = await tx.query<{ body_hash: string; answer: unknown }>(
      `select body_hash, answer from idempotency_keys where tenant_id = $1 and route = $2 and idempotency_key = $3
         and created_at > now() - $4 * interval '1 day'`,
      [...names, keyLifeDays],
    );
    const earlier = stored.rows[0];
    if (earlier !== undefined) {
      if (earlier.body_hash !== hash) throw keyReused(scope.key);
      return { answer: earlier.answer, replayed: true };
    }
    const answer = await work(tx);
    await tx.query(
      `insert into idempotency_keys (tenant_id, route, idempotency_key, body_hash, answer) values ($1, $2, $3, $4, $5)
         on conflict (tenant_id, route, idempotency_key)
         do update set body_hash = excluded.body_hash, answer = excluded.answer, created_at = excluded.created_at`,
      [...names, hash, storableJson(answer)],
    );
    await tx.query(
      `delete from idempotency_keys where (tenant_id, route, idempotency_key) in (
         select tenant_id, route, idempotency_key from idempotency_keys where created_at < now() - $1 * interval '1 day'
          order by created_at limit $2 for update skip locked)`,
      [keyLifeDays, expiredPerKey],
    );
    return { answer, replayed: false };
  });
}
