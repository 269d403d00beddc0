import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { webhookFailureSchema } from '../../../contract/webhooks.js';
import { packageRoot } from '../../../infra/config/package-root.js';
import { WebhookKey } from '../../../infra/webhooks/webhook-key.js';

const verifySchema = z.object({
  verify: z.custom<(secret: string, body: Buffer, headers: Record<string, string>, now?: number) => unknown>(
    (value) => typeof value === 'function',
  ),
});

const page = readFileSync(join(packageRoot(), 'docs', 'webhooks.md'), 'utf8');

async function verifierOfTheDocs() {
  const [, code = ''] = /```js\n([\s\S]*?)```/.exec(page) ?? [];
  const folder = mkdtempSync(join(tmpdir(), 'agentrun-webhook-docs-'));
  try {
    const file = join(folder, 'verify.mjs');
    writeFileSync(file, code);
    const loaded: unknown = await import(/* @vite-ignore */ file);
    return verifySchema.parse(loaded).verify;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

it('the verification of docs/webhooks.md takes what is signed, and nothing else', async () => {
  const verify = await verifierOfTheDocs();
  const key = new WebhookKey('a key of a test, which is long enough');
  const body = '{"type":"run.failed","data":{"note":"ü"}}';
  const bytes = Buffer.from(body);
  const timestampSeconds = 1_767_225_600;
  const signature = key.signature('whk_1', [2, 1], { id: 'dlv_1', timestampSeconds, body });
  const headers = {
    'webhook-id': 'dlv_1',
    'webhook-timestamp': String(timestampSeconds),
    'webhook-signature': signature,
  };
  for (const generation of [1, 2])
    expect(verify(key.secret('whk_1', generation), bytes, headers, timestampSeconds + 60)).toEqual(
      JSON.parse(body),
    );
  const secret = key.secret('whk_1', 2);
  const wrong: [Buffer, Record<string, string>, number][] = [
    [Buffer.from(`${body} `), headers, timestampSeconds],
    [bytes, { ...headers, 'webhook-id': 'dlv_2' }, timestampSeconds],
    [bytes, { ...headers, 'webhook-signature': 'v1,AAAA' }, timestampSeconds],
    [bytes, { 'webhook-id': 'dlv_1', 'webhook-timestamp': String(timestampSeconds) }, timestampSeconds],
    [bytes, headers, timestampSeconds + 301],
    [bytes, { ...headers, 'webhook-timestamp': 'soon' }, timestampSeconds],
  ];
  for (const [changed, sent, now] of wrong) expect(() => verify(secret, changed, sent, now)).toThrow();
  expect(() => verify(key.secret('whk_1', 3), bytes, headers, timestampSeconds)).toThrow();
});

it('docs/webhooks.md says what each failure means, and of no other', () => {
  const [, rows = ''] = /\| +failure[^\n]*\n\|[-: |]+\n((?:\|[^\n]*\n)+)/.exec(page) ?? [];
  const named = [...rows.matchAll(/^\| `([a-z-]+)`/gm)].map(([, name]) => name);
  expect(named).toEqual(webhookFailureSchema.options);
});
