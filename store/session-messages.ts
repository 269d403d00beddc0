import { idPrefixes } from '../contract/ids.js';
import type { SendDecision } from '../domain/send-plan.js';
import type { AnswerBody, MessageBody } from './accept-message.js';
import { keyReused } from './idempotency.js';
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
  readonly body: MessageBody | AnswerBody;
  readonly runId: string | null;
  readonly traceparent: string | null;
}

export interface StoredMessage {
  readonly commandId: string;
  readonly idempotencyKey: string;
  /** Null until the session has decided. */
  readonly decision: SendDecision | null;
}

/**
 * Stores a message before its session decides about it, so that a caller who was told nothing can ask again with the same key.
 *
 * @throws AgentRunError `conflict` for the same key with another body.
 */
export async function storeMessage(pool: Pool, message: NewMessage): Promise<StoredMessage> {
  const commandId = newId(idPrefixes.command);
  const idempotencyKey = message.idempotencyKey ?? commandId;
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
  if (inserted.rowCount === 1) return { commandId, idempotencyKey, decision: null };
  const found = await pool.query<{ command_id: string; body_hash: string; decision: SendDecision | null }>(
    'select command_id, body_hash, decision from session_messages where tenant_id = $1 and route = $2 and idempotency_key = $3',
    [message.tenantId, message.route, idempotencyKey],
  );
  const earlier = found.rows[0];
  if (earlier === undefined || earlier.body_hash !== message.bodyHash) throw keyReused(idempotencyKey);
  return { commandId: earlier.command_id, idempotencyKey, decision: earlier.decision };
}
