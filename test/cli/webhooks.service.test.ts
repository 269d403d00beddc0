import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { recordTry } from '../../store/webhook-deliveries.js';
import { adminToken } from '../support/api.js';
import { useApi } from '../support/use-api.js';

const { api, database } = await useApi();

async function agentrun(...args: string[]): Promise<{ code: unknown; out: string; err: string }> {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'cli', 'main.js'), ...args], {
    env: childEnvironment({ AGENTRUN_MGR_URL: api.url, AGENTRUN_API_TOKEN: adminToken }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text;
  });
  const [code]: unknown[] = await once(child, 'close');
  return { code, ...said };
}
/** The output of a command that must succeed. */
async function done(...args: string[]): Promise<string> {
  const { code, out, err } = await agentrun(...args);
  expect([args, code, err]).toEqual([args, 0, expect.any(String)]);
  return out.trim();
}

it('webhook: made, shown, tested, sent again, rotated, paused and removed from the command line', async () => {
  const url = 'https://hooks.example.com/x';
  const added = await done(
    'webhook',
    'add',
    url,
    '--event',
    'run.failed',
    '--label',
    'team=core',
    '--tenant',
    'acme',
  );
  const [, id = '', secret = ''] = /^id +(whk_\S+)\nsecret +(whsec_\S+) +shown only now$/.exec(added) ?? [];
  expect(id).toMatch(/^whk_/);
  expect(await done('webhook', 'list')).toMatch(new RegExp(`${id} +active +acme +run.failed +${url}`));
  const shown = await done('webhook', 'show', id);
  expect(shown).toContain('labels   team=core');
  expect(shown).not.toContain('whsec_');

  const deliveryId = await done('webhook', 'test', id);
  expect(await done('webhook', 'deliveries', id)).toMatch(
    new RegExp(`${deliveryId} +webhook.test +waiting +0 +-`),
  );
  await recordTry(
    database.pool,
    { deliveryId, generation: 1 },
    { try: 10, durationMs: 1, status: 503, failure: 'http-status' },
    'dead',
  );
  expect(await done('webhook', 'deliveries', id, '--state', 'dead')).toContain('HTTP 503');
  expect(await done('webhook', 'redeliver', id, deliveryId)).toBe(`${deliveryId} waiting`);

  const rotated = await done('webhook', 'rotate', id);
  expect(rotated).toMatch(/^whsec_/);
  expect(rotated).not.toBe(secret);
  expect(await done('webhook', 'show', id)).toContain('generation 2, the former signs too until');
  await done('webhook', 'rotate', id, '--end-former');
  expect(await done('webhook', 'show', id)).not.toContain('the former');
  expect(await done('webhook', 'pause', id)).toBe(`${id} is paused`);
  expect(await done('webhook', 'resume', id)).toBe(`${id} is active`);
  expect(JSON.parse(await done('--json', 'webhook', 'show', id))).toMatchObject({ id, state: 'active' });
  await done('webhook', 'remove', id);

  const missing = await agentrun('webhook', 'show', id);
  expect(missing).toMatchObject({ code: 4, err: expect.stringContaining('does not exist') });
  const wrong = await agentrun('webhook', 'add', 'http://127.0.0.1/x');
  expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining('AGENTRUN_WEBHOOK_ALLOWED_HOSTS') });
  expect(wrong.err.match(/<url>/g)).toHaveLength(1);
  const odd = await agentrun('webhook', 'add', 'nowhere');
  expect(odd.err.match(/<url>/g)).toHaveLength(1);
  const event = await agentrun('webhook', 'add', url, '--event', 'run.foo');
  expect(event).toMatchObject({ code: 2, err: expect.stringContaining('--event: expected') });
  expect(await agentrun('webhook', 'rotate', id, '--former-valid-hours', 'some')).toMatchObject({ code: 2 });
}, 120_000);
