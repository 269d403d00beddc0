import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { StackPaths } from './stack-paths.js';

/**
 * Makes the secrets of a local stack that do not exist yet: the CLI's bearer token, the key that signs runner tokens
 * (decisions.md, Auth) and the one that the secrets of webhooks are derived from. Files are 0600 in a folder of 0700.
 */
export function createLocalSecrets(paths: StackPaths): void {
  createOnce(paths.apiTokenFile, () => `agr_${randomBytes(32).toString('base64url')}`);
  createOnce(paths.runnerKeysFile, () => JSON.stringify({ keys: [newSigningKey()] }));
  createOnce(paths.webhookKeyFile, () => randomBytes(32).toString('base64url'));
}

/** Stores the model provider's key for the worker; written at every start, because the user may have changed it. */
export function writeProviderKey(paths: StackPaths, key: string): void {
  // Its time stands for the key's generation: a key that is the same keeps the warm runners.
  if (existsSync(paths.providerKeyFile) && readFileSync(paths.providerKeyFile, 'utf8') === `${key}\n`) return;
  writeSecretFile(paths.providerKeyFile, key);
}

/** A new password for the local database. Hexadecimal, so that it needs no escaping in a URL or in SQL. */
export function newPassword(): string {
  return randomBytes(24).toString('hex');
}

/** Writes a secret for the owner's eyes only, whole or not at all. */
export function writeSecretFile(path: string, content: string): void {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, `${content}\n`, { mode: 0o600, flag: 'wx' });
  renameSync(temporary, path);
}

/** The password in a stored database URL; undefined when there is no such file or it holds no URL. */
export function storedDatabasePassword(paths: StackPaths): string | undefined {
  if (!existsSync(paths.databaseUrlFile)) return undefined;
  const text = readFileSync(paths.databaseUrlFile, 'utf8').trim();
  if (!URL.canParse(text)) return undefined;
  const { password } = new URL(text);
  return /^[0-9a-f]+$/.test(password) ? password : undefined;
}

function createOnce(path: string, content: () => string): void {
  if (!existsSync(path)) writeSecretFile(path, content());
}

function newSigningKey(): Record<string, unknown> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const kid = `local-${randomBytes(6).toString('hex')}`;
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' };
}
