import { Webhook } from 'standardwebhooks';
import { expect, it } from 'vitest';
import { WebhookKey } from '../../../infra/webhooks/webhook-key.js';

const key = new WebhookKey('a key of a test, which is long enough');
const body = JSON.stringify({ type: 'run.completed', data: { text: 'ümlaut' } });
const message = { id: 'dlv_1', timestampSeconds: Math.floor(Date.now() / 1_000), body };
const headersWith = (signature: string) => ({
  'webhook-id': message.id,
  'webhook-timestamp': String(message.timestampSeconds),
  'webhook-signature': signature,
});

it('signs as Standard Webhooks verifies, with 32 bytes of a secret', () => {
  const secret = key.secret('whk_1', 1);
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  const headers = headersWith(key.signature('whk_1', [1], message));
  expect(new Webhook(secret).verify(body, headers)).toEqual(JSON.parse(body));
  expect(() => new Webhook(secret).verify(`${body} `, headers)).toThrow();
  expect(() => new Webhook(key.secret('whk_2', 1)).verify(body, headers)).toThrow();
});

it('signs with two secrets during a rotation: each receiver finds its own', () => {
  const headers = headersWith(key.signature('whk_1', [2, 1], message));
  for (const generation of [1, 2])
    expect(new Webhook(key.secret('whk_1', generation)).verify(body, headers)).toBeDefined();
  expect(() => new Webhook(key.secret('whk_1', 3)).verify(body, headers)).toThrow();
});

it('makes the same secrets of the same key, others of another, and tells keys apart', () => {
  const same = new WebhookKey('a key of a test, which is long enough');
  const other = new WebhookKey('another key of a test, long enough too');
  expect(same.secret('whk_1', 1)).toBe(key.secret('whk_1', 1));
  expect(same.fingerprint).toBe(key.fingerprint);
  expect(other.secret('whk_1', 1)).not.toBe(key.secret('whk_1', 1));
  expect(other.fingerprint).not.toBe(key.fingerprint);
  expect(new Set([1, 2, 3].map((generation) => key.secret('whk_1', generation))).size).toBe(3);
});
