import { AgentRunError } from '../contract/errors.js';
import { idPrefixes } from '../contract/ids.js';
import type { Page } from '../contract/queries.js';
import {
  type CreateWebhook,
  type UpdateWebhook,
  type WebhookRecord,
  webhookSchema,
} from '../contract/webhooks.js';
import { bodyHash, once } from './idempotency.js';
import { Conditions, cutPage, decodeCursor, idKeySchema } from './keyset.js';
import { newId } from './new-id.js';
import type { Pool, Queryable, Transaction } from './pool.js';
import { isoTime } from './records.js';
import { storableJson } from './storable-json.js';

/** Webhooks of one tenant, and of all tenants together. */
export const mostWebhooks = 50;

const columns = `w.webhook_id as id, w.tenant_id as "tenantId", w.project_id as "projectId", w.url, w.events, w.labels, w.description, w.state,
  w.secret_generation as "secretGeneration",
  case when w.former_secret_until > now() then ${isoTime('w.former_secret_until')} end as "formerSecretUntil",
  ${isoTime('w.created_at')} as "createdAt", ${isoTime('w.updated_at')} as "updatedAt"`;
const parseWebhook = (row: unknown): WebhookRecord => webhookSchema.parse(row);
const keyset = { list: 'webhooks', key: idKeySchema };
/** Of keys of callers without a tenant: no tenant has this name. */
const everyTenant = '';
/** `$1`: the id, `$2`: the caller's tenant, null for one who sees all. */
const own = 'w.webhook_id = $1 and ($2::text is null or w.tenant_id = $2) and w.deleted_at is null';

const missing = (webhookId: string) => new AgentRunError('not-found', `webhook ${webhookId} does not exist`);

/** Whose webhook it is and how its secret was made, beside what the caller says. */
export interface NewWebhook {
  /** Null: of all tenants. */
  readonly tenantId: string | null;
  readonly keyFingerprint: string;
}

/**
 * Stores a webhook. The same idempotency key answers it as it was created; no secret is in what is kept of the answer.
 *
 * @throws AgentRunError `conflict` for the same key with another body, for a repeat when the secret is not the same any more, and when the tenant has
 * {@link mostWebhooks} of them.
 */
export async function createWebhook(
  pool: Pool,
  body: CreateWebhook,
  { tenantId, keyFingerprint }: NewWebhook,
  key: string | null,
): Promise<{ webhook: WebhookRecord; replayed: boolean }> {
  const scope =
    key === null ? undefined : { tenantId: tenantId ?? everyTenant, route: 'POST /api/v1/webhooks', key };
  const { answer, replayed } = await once(pool, scope, bodyHash({ ...body, tenantId }), async (tx) => {
    await requireRoom(tx, tenantId);
    const inserted = await tx.query(
      `insert into webhooks as w (webhook_id, tenant_id, project_id, url, events, labels, description, key_fingerprint)
       values ($1, $2, $3, $4, $5, $6, $7, $8) returning ${columns}`,
      [
        newId(idPrefixes.webhook),
        tenantId,
        body.projectId ?? null,
        body.url,
        body.events,
        storableJson(body.labels ?? {}),
        body.description ?? null,
        keyFingerprint,
      ],
    );
    return parseWebhook(inserted.rows[0]);
  });
  const webhook = parseWebhook(answer);
  if (replayed) await requireSameSecret(pool, webhook, keyFingerprint);
  return { webhook, replayed };
}

/**
 * A repeat is answered with a secret that is derived anew: it must be the one that signs now.
 *
 * @throws AgentRunError `conflict` when the webhook is deleted, was rotated since, or has its secret from another key.
 */
async function requireSameSecret(
  db: Queryable,
  { id, secretGeneration }: WebhookRecord,
  keyFingerprint: string,
): Promise<void> {
  const found = await db.query<{ generation: number; fingerprint: string }>(
    `select secret_generation as generation, key_fingerprint as fingerprint from webhooks where webhook_id = $1 and deleted_at is null`,
    [id],
  );
  const [now] = found.rows;
  const refused = (why: string) =>
    new AgentRunError('conflict', `webhook ${id} ${why}`, { details: { webhookId: id } });
  if (now === undefined) throw refused('is deleted: take another idempotency key to make one');
  if (now.fingerprint !== keyFingerprint)
    throw refused('has a secret that was made from another key of this installation: rotate it');
  if (now.generation !== secretGeneration)
    throw refused('has another secret by now: rotate it once more, under another idempotency key');
}

async function requireRoom(tx: Transaction, tenantId: string | null): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [
    `webhooks ${tenantId ?? everyTenant}`,
  ]);
  const found = await tx.query<{ n: number }>(
    'select count(*)::int as n from webhooks where tenant_id is not distinct from $1 and deleted_at is null',
    [tenantId],
  );
  if ((found.rows[0]?.n ?? 0) < mostWebhooks) return;
  throw new AgentRunError('conflict', `there are ${mostWebhooks} webhooks already: delete one first`, {
    details: { limit: mostWebhooks },
  });
}

/** @throws AgentRunError `not-found`, also for a webhook of another tenant. */
export async function getWebhook(
  db: Queryable,
  webhookId: string,
  tenantId: string | undefined,
): Promise<WebhookRecord> {
  const found = await db.query(`select ${columns} from webhooks w where ${own}`, [
    webhookId,
    tenantId ?? null,
  ]);
  if (found.rows.length === 0) throw missing(webhookId);
  return parseWebhook(found.rows[0]);
}

/** A page of webhooks, the newest first: their ids sort by time. */
export async function listWebhooks(
  db: Queryable,
  query: {
    readonly limit: number;
    readonly cursor?: string | undefined;
    readonly tenantId: string | undefined;
  },
): Promise<Page<WebhookRecord>> {
  const after = decodeCursor(keyset, query.cursor);
  const where = new Conditions([query.limit + 1]);
  where.add('w.deleted_at is null');
  where.equal('w.tenant_id', query.tenantId);
  if (after !== undefined) where.add(`w.webhook_id < ${where.parameter(after[0])}`);
  const found = await db.query(
    `select ${columns} from webhooks w where ${where.toString()} order by w.webhook_id desc limit $1`,
    where.values,
  );
  return cutPage(found.rows.map(parseWebhook), query.limit, {
    list: keyset.list,
    keyOf: ({ id }) => [id],
    itemOf: (item) => item,
  });
}

/** Changes what is named. @throws AgentRunError `not-found`. */
export async function updateWebhook(
  db: Queryable,
  webhookId: string,
  tenantId: string | undefined,
  change: UpdateWebhook,
): Promise<WebhookRecord> {
  const changed = await db.query(
    `update webhooks w set url = coalesce($3, url), events = coalesce($4, events), labels = coalesce($5, labels),
       description = coalesce($6, description), state = coalesce($7, state), updated_at = now(),
       former_secret_until = case when $8 then null else former_secret_until end
      where ${own} returning ${columns}`,
    [
      webhookId,
      tenantId ?? null,
      change.url ?? null,
      change.events ?? null,
      change.labels === undefined ? null : storableJson(change.labels),
      change.description ?? null,
      change.state ?? null,
      change.endFormerSecret === true,
    ],
  );
  if (changed.rows.length === 0) throw missing(webhookId);
  return parseWebhook(changed.rows[0]);
}

/** Ends a subscription; the worker deletes its deliveries and the row bit by bit. @throws AgentRunError `not-found`. */
export async function deleteWebhook(
  db: Queryable,
  webhookId: string,
  tenantId: string | undefined,
): Promise<void> {
  const deleted = await db.query(
    `update webhooks w set deleted_at = now(), updated_at = now() where ${own}`,
    [webhookId, tenantId ?? null],
  );
  if (deleted.rowCount !== 1) throw missing(webhookId);
}

/**
 * Begins the next generation of a secret. The former one counts for `formerValidMs` more, unless it was made from another key, which nobody has any more.
 * The same idempotency key answers the same generation: a repeat after a lost answer does not end the secret that the receiver has.
 *
 * @throws AgentRunError `not-found`; `conflict` for the same key with another body, and for a repeat when the secret is another by now.
 */
export async function rotateSecret(
  pool: Pool,
  { webhookId, tenantId }: { readonly webhookId: string; readonly tenantId: string | undefined },
  { formerValidMs, keyFingerprint }: { readonly formerValidMs: number; readonly keyFingerprint: string },
  key: string | null,
): Promise<{ webhook: WebhookRecord; replayed: boolean }> {
  await getWebhook(pool, webhookId, tenantId);
  const route = `POST /api/v1/webhooks/${webhookId}/rotate-secret`;
  const scope = key === null ? undefined : { tenantId: tenantId ?? everyTenant, route, key };
  const { answer, replayed } = await once(pool, scope, bodyHash({ formerValidMs }), async (tx) => {
    const rotated = await tx.query(
      `update webhooks w set secret_generation = secret_generation + 1, key_fingerprint = $3, updated_at = now(),
         former_secret_until = case when key_fingerprint = $3 and $4 > 0 then now() + $4 * interval '1 millisecond' end
        where ${own} returning ${columns}`,
      [webhookId, tenantId ?? null, keyFingerprint, formerValidMs],
    );
    if (rotated.rows.length === 0) throw missing(webhookId);
    return parseWebhook(rotated.rows[0]);
  });
  const webhook = parseWebhook(answer);
  if (replayed) await requireSameSecret(pool, webhook, keyFingerprint);
  return { webhook, replayed };
}

/** Stops what is sent to a webhook whose receiver has answered 410 at this URL. */
export async function noteGone(db: Queryable, webhookId: string, url: string): Promise<void> {
  await db.query(
    `update webhooks set state = 'gone', updated_at = now() where webhook_id = $1 and url = $2 and state = 'active'`,
    [webhookId, url],
  );
}

/** How many webhooks have secrets of which key. */
export async function keysInUse(db: Queryable): Promise<{ fingerprint: string; webhooks: number }[]> {
  const found = await db.query<{ fingerprint: string; webhooks: number }>(
    `select key_fingerprint as fingerprint, count(*)::int as webhooks from webhooks where deleted_at is null group by key_fingerprint`,
  );
  return found.rows;
}
