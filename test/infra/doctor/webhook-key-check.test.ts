import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { runChecks } from '../../../infra/doctor/run-checks.js';
import { webhookKeyCheck } from '../../../infra/doctor/webhook-key-check.js';
import { createRedactor } from '../../../infra/telemetry/redaction.js';
import { WebhookKey } from '../../../infra/webhooks/webhook-key.js';

const folder = mkdtempSync(join(tmpdir(), 'agentrun-webhook-key-'));
afterAll(() => rmSync(folder, { recursive: true }));
const keyText = 'a key of a test, which is long enough';
const { fingerprint } = new WebhookKey(keyText);
function keyFile(content: string): string {
  const file = join(folder, `key-${content.length}`);
  writeFileSync(file, `${content}\n`);
  return file;
}

async function looked(file: string | undefined, inUse: { fingerprint: string; webhooks: number }[]) {
  const [result] = await runChecks(
    'api',
    [webhookKeyCheck(file, () => Promise.resolve(inUse))],
    createRedactor(),
  );
  return result;
}

it.each([
  ['is not set, and there are no webhooks', undefined, [], true, /no webhooks/],
  ['is not set, and there are webhooks', undefined, [{ fingerprint, webhooks: 2 }], false, /2 webhooks have/],
  ['is that of every webhook', keyText, [{ fingerprint, webhooks: 2 }], true, /that of every webhook/],
  [
    'is another',
    keyText,
    [{ fingerprint: 'of another', webhooks: 1 }],
    false,
    /1 webhook has .* another key/,
  ],
  ['is too short', 'short', [], false, /at least 32 characters/],
] as const)('the key of webhooks %s', async (_what, content, inUse, ok, message) => {
  const result = await looked(content === undefined ? undefined : keyFile(content), [...inUse]);
  expect(result).toMatchObject({ ok, message: expect.stringMatching(message) });
  expect(JSON.stringify(result)).not.toContain(keyText);
});

it('a file that is not there is named', async () => {
  expect(await looked(join(folder, 'none'), [])).toMatchObject({
    ok: false,
    variable: 'AGENTRUN_WEBHOOK_KEY_FILE',
    message: expect.stringContaining('ENOENT'),
  });
});

it('without the database only the file is looked at', async () => {
  const [result] = await runChecks(
    'api',
    [webhookKeyCheck(keyFile(keyText), () => Promise.reject(new Error('away')))],
    createRedactor(),
  );
  expect(result).toMatchObject({ ok: false, severity: 'skipped', variable: 'DATABASE_URL' });
});
