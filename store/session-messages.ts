import { idPrefixes } from '../contract/ids.js';
import type { SendDecision } from '../domain/send-plan.js';
import type { AnswerBody, MessageBody } from './accept-message.js';
import { keyLifeDays, keyReused } from './idempotency.js';
import { newId } from './new-id.js';
import type { Pool } from './pool.js';
import { storableJson } from './storable-json.js';

/** A message as it was handed in. `idempotencyKey` null: the command id becomes the key. */
export interface NewMessage {
  readonly tenantId: string;
  readonly sessionId: string;
  readonly route: string;
  readonly idempotencyKey: string | null;
  readonly bodyHash: string;
  /** Hashes that make an earlier message the same, beside its own. */
  readonly sameHashes?: readonly string[];
  readonly body: MessageBody | AnswerBody;
  readonly runId: string | null;
  readonly traceparent: string | null;
}

export interface StoredMessage {
  readonly commandId: string;
  readonly idempotencyKey: string;
  /** Null until the session has decided. */
  readonly decision: SendDecision | null;
  /** An earlier request has stored it under this key. */
  readonly replayed: boolean;
}

/**
 * Stores a message before its session decides about it, so that a caller who was told nothing can ask again with the same key.
 *
 * @throws AgentRunError `conflict` for the same key with another body.
 */
export async function storeMessage(pool: Pool, message: NewMessage): Promise<StoredMessage> {
  const commandId = newId(idPrefixes.command);
  const idempotencyKey = message.idempotencyKey ?? commandId;
  if (await insertMessage(pool, message, commandId, idempotencyKey)) {
    return { commandId, idempotencyKey, decision: null, replayed: false };
  }
  const earlier = await findMessage(pool, message, idempotencyKey);
  if (earlier !== undefined) {
    if (![message.bodyHash, ...(message.sameHashes ?? [])].includes(earlier.body_hash))
      throw keyReused(idempotencyKey);
    return { commandId: earlier.command_id, idempotencyKey, decision: earlier.decision, replayed: true };
  }
  // The key has expired: the former message gives it up.
  await pool.query(
    `update session_messages set idempotency_key = 'expired/' || command_id where tenant_id = $1 and route = $2 and idempotency_key = $3
       and created_at < now() - $4 * interval '1 day'`,
    [message.tenantId, message.route, idempotencyKey, keyLifeDays],
  );
  return storeMessage(pool, { ...message, idempotencyKey });
}

/** False when the key is taken. */
async function insertMessage(
  pool: Pool,
  message: NewMessage,
  commandId: string,
  idempotencyKey: string,
): Promise<boolean> {
  const inserted = await pool.query(
    `insert into session_messages (command_id, tenant_id, session_id, route, idempotency_key, body_hash, body, run_id, traceparent)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (tenant_id, route, idempotency_key) do nothing`,
    [
      commandId,
      message.tenantId,
      message.sessionId,
      message.route,
      idempotencyKey,
      message.bodyHash,
      storableJson(message.body),
      message.runId,
      message.traceparent,
    ],
  );
  return inserted.rowCount === 1;
}

/** The message that has this key, unless the key has expired. */
async function findMessage(
  pool: Pool,
  { tenantId, route }: NewMessage,
  idempotencyKey: string,
): Promise<{ command_id: string; body_hash: string; decision: SendDecision | null } | undefined> {
  const found = await pool.query<{ command_id: string; body_hash: string; decision: SendDecision | null }>(
    `select command_id, body_hash, decision from session_messages where tenant_id = $1 and route = $2 and idempotency_key = $3
       and created_at > now() - $4 * interval '1 day'`,
    [tenantId, route, idempotencyKey, keyLifeDays],
  );
  return found.rows[0];
}
