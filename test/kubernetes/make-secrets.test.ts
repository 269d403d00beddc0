import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { RunnerTokens } from '../../infra/tokens/runner-tokens.js';
import { useCluster } from '../support/cluster.js';
import { deployFolder } from '../support/manifests.js';

const cluster = await useCluster();
const folder = mkdtempSync(join(tmpdir(), 'agentrun-secrets-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string): string => {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
};

it('makes every Secret that the manifests name, once, and prints none of them', async () => {
  const main = await cluster.makeNamespace('secrets-main');
  const runners = await cluster.makeNamespace('secrets-runners');
  const tokenFile = join(folder, 'token');
  const make = async () => {
    const { stdout, stderr } = await promisify(execFile)(
      join(deployFolder, 'make-secrets.sh'),
      [file('url', 'postgres://agentrun:very-secret@postgres/agentrun\n'), file('key', 'provider-secret\n')],
      {
        env: childEnvironment({
          KUBECONFIG: cluster.kubeconfig,
          KUBECTL: cluster.own?.layout.kubectl ?? 'kubectl',
          MAIN_NAMESPACE: main.namespace,
          AGENTRUN_RUNTIME_NAMESPACE: runners.namespace,
          TOKEN_FILE: tokenFile,
        }),
        cwd: folder,
        timeout: 60_000,
      },
    );
    expect(stderr).toBe('');
    return stdout;
  };
  const secretOf = async (where: typeof main, name: string, key: string): Promise<string> => {
    const secret = await where.core.readNamespacedSecret({ namespace: where.namespace, name });
    return Buffer.from(secret.data?.[key] ?? '', 'base64').toString('utf8');
  };
  const all = async () => [
    await secretOf(main, 'agentrun-database', 'url'),
    await secretOf(main, 'agentrun-runner-keys', 'keys.json'),
    await secretOf(main, 'agentrun-api-tokens', 'tokens.json'),
    await secretOf(main, 'agentrun-webhooks', 'key'),
    await secretOf(runners, 'agentrun-provider', 'key'),
  ];

  const said = await make();
  expect(said.match(/ made$/gm)).toHaveLength(5);
  const made = await all();
  const [databaseUrl = '', runnerKeys = '', apiTokens = '', webhookKey = '', providerKey = ''] = made;
  expect(databaseUrl).toBe('postgres://agentrun:very-secret@postgres/agentrun');
  expect(providerKey).toBe('provider-secret');
  expect(webhookKey.length).toBeGreaterThanOrEqual(32);
  const tokens = await RunnerTokens.fromFile(file('keys.json', runnerKeys));
  const { token: launchToken } = await tokens.mintLaunch(
    { run: 'run_1', epoch: 1, job: 'job', jobId: 'job_1' },
    60_000,
  );
  expect(launchToken.split('.')).toHaveLength(3);
  const [entry] = z
    .array(z.strictObject({ name: z.string(), tokenSha256: z.string(), scopes: z.array(z.string()) }))
    .parse(JSON.parse(apiTokens));
  const token = readFileSync(tokenFile, 'utf8').trim();
  expect(entry?.tokenSha256).toBe(createHash('sha256').update(token).digest('hex'));
  expect(statSync(tokenFile).mode & 0o777).toBe(0o600);
  for (const secret of [...made, token, 'very-secret']) expect(said).not.toContain(secret);

  const saidAgain = await make();
  expect(saidAgain.match(/ exists$/gm)).toHaveLength(5);
  expect(await all()).toEqual(made);
});
