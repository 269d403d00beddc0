import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { WebhookFailure } from '../contract/webhooks.js';
import { webhookRetryDelayMs, webhookTries } from '../domain/webhook-retry.js';
import { type PostOptions, type PostResult, postMessage } from '../infra/webhooks/post-message.js';
import type { WebhookKey } from '../infra/webhooks/webhook-key.js';
import type { Pool } from '../store/pool.js';
import {
  buryDelivery,
  type DeliveryGeneration,
  findOutgoing,
  type OutgoingDelivery,
  recordTry,
} from '../store/webhook-deliveries.js';
import { noteGone } from '../store/webhooks.js';
import { finalErrors } from './final-errors.js';
import type { WebhookActivities } from './index.js';
import { heartbeating } from './runners.js';

export interface WebhookDependencies {
  readonly pool: Pool;
  /** Undefined: this worker has none, and nothing can be signed. */
  readonly key: WebhookKey | undefined;
  /** What links in messages are made from; undefined: there are none. */
  readonly publicUrl: string | undefined;
  readonly post: PostOptions;
  /** Counts a try. */
  readonly onTry?: (failure: WebhookFailure | null) => void;
  /** Counts an end. */
  readonly onEnd?: (state: 'delivered' | 'dead') => void;
  /** After each record of a try: another delivery may have its turn now. */
  readonly onRecorded?: () => void;
  /** Tests shorten the pause after a failed try. */
  readonly retryDelayMs?: typeof webhookRetryDelayMs;
}

const notSent = (failure: WebhookFailure): PostResult => ({
  status: null,
  failure,
  retryAfterMs: null,
  durationMs: 0,
});

/** Posts messages to webhooks. Whether one has arrived is known only by its answer: a receiver may get it twice, under the same id. */
export function createWebhookActivities(dependencies: WebhookDependencies): WebhookActivities {
  const { pool, post, onTry, onEnd, onRecorded, retryDelayMs = webhookRetryDelayMs } = dependencies;
  return {
    deliverWebhook: (delivery) =>
      finalErrors('deliverWebhook', async () => {
        const { info, cancellationSignal } = Context.current();
        const { attempt } = info;
        const outgoing = await findOutgoing(pool, delivery);
        if (outgoing === undefined) return { state: 'skipped' };
        if (outgoing.webhookState !== 'active') {
          await buryDelivery(pool, delivery, outgoing.webhookState === 'gone' ? 'gone' : 'webhook-paused');
          onEnd?.('dead');
          onRecorded?.();
          return { state: 'dead' };
        }
        const result = await heartbeating('posting', () =>
          send(dependencies, delivery, outgoing, { ...post, signal: cancellationSignal }),
        );
        // Cut off: whether it has arrived nobody knows, and the slot is free at once.
        if (result.status === null) cancellationSignal.throwIfAborted();
        const { status, failure, durationMs } = result;
        const isOver = failure === 'gone' || attempt >= webhookTries;
        const state = failure === null ? 'delivered' : isOver ? 'dead' : 'sending';
        onTry?.(failure);
        if (failure === 'gone') await noteGone(pool, outgoing.webhookId, outgoing.url);
        await recordTry(pool, delivery, { try: attempt, durationMs, status, failure }, state);
        onRecorded?.();
        if (state !== 'sending') {
          onEnd?.(state);
          return { state };
        }
        throw ApplicationFailure.create({
          type: failure ?? 'infra-failed',
          message: status === null ? 'no answer' : `HTTP ${status}`,
          category: ApplicationFailureCategory.BENIGN,
          nextRetryDelay: retryDelayMs({
            tries: attempt,
            retryAfterMs: result.retryAfterMs,
            random: Math.random(),
          }),
        });
      }),

    buryWebhook: (delivery) =>
      finalErrors('buryWebhook', async () => {
        await buryDelivery(pool, delivery, 'abandoned');
        onEnd?.('dead');
        onRecorded?.();
      }),
  };
}

async function send(
  { key, publicUrl }: WebhookDependencies,
  { deliveryId }: DeliveryGeneration,
  outgoing: OutgoingDelivery,
  options: PostOptions,
): Promise<PostResult> {
  // Another key would sign with a secret that nobody has.
  if (key === undefined || key.fingerprint !== outgoing.keyFingerprint) return notSent('key-unavailable');
  const body = messageBody(outgoing, publicUrl);
  const timestampSeconds = Math.floor(Date.now() / 1_000);
  const message = { id: deliveryId, timestampSeconds, body };
  return postMessage(
    outgoing.url,
    {
      body,
      headers: {
        'content-type': 'application/json',
        'user-agent': 'AgentRun-Webhook/1',
        'webhook-id': deliveryId,
        'webhook-timestamp': String(timestampSeconds),
        'webhook-signature': key.signature(outgoing.webhookId, outgoing.secretGenerations, message),
      },
    },
    options,
  );
}

/** The same at every try, as long as the public URL is. */
function messageBody({ type, webhookId, createdAt, data }: OutgoingDelivery, publicUrl: string | undefined) {
  const links =
    publicUrl === undefined
      ? {}
      : {
          links: Object.fromEntries(
            linkedThings.flatMap(([name, field, path]) => {
              const id = data[field];
              return typeof id === 'string'
                ? [[name, `${publicUrl}/api/v1/${path}/${encodeURIComponent(id)}`]]
                : [];
            }),
          ),
        };
  return JSON.stringify({ type, timestamp: createdAt, data: { webhookId, ...data, ...links } });
}

const linkedThings = [
  ['run', 'runId', 'runs'],
  ['session', 'sessionId', 'sessions'],
  ['task', 'taskId', 'queue/tasks'],
] as const;
