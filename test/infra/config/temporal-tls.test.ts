import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readWorkerConfig } from '../../../infra/config/worker-config.js';

const folder = mkdtempSync(join(tmpdir(), 'agentrun-tls-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const pem = (name: string) => `-----BEGIN ${name}-----\nAAAA\n-----END ${name}-----\n`;
const certificate = file('tls.crt', pem('CERTIFICATE'));
const key = file('tls.key', pem('PRIVATE KEY'));

const tls = (env: Readonly<Record<string, string>>) =>
  readWorkerConfig({
    DATABASE_URL: 'postgres://user@127.0.0.1/agentrun',
    AGENTRUN_RUNNER_KEYS_FILE: '/keys.json',
    AGENTRUN_LAUNCHER: 'external',
    ...env,
  }).temporal.tls;

describe('TLS towards Temporal', () => {
  it('is what TEMPORAL_TLS says, or left to the API key', () => {
    expect(tls({})).toBeUndefined();
    expect(tls({ TEMPORAL_TLS: 'true' })).toBe(true);
    expect(tls({ TEMPORAL_TLS: 'false' })).toBe(false);
  });

  it('is on with a certificate, an authority or a name', () => {
    expect(tls({ TEMPORAL_TLS_CERT_FILE: certificate, TEMPORAL_TLS_KEY_FILE: key })).toEqual({
      clientCertPair: { crt: Buffer.from(pem('CERTIFICATE')), key: Buffer.from(pem('PRIVATE KEY')) },
    });
    expect(
      tls({ TEMPORAL_TLS: 'true', TEMPORAL_TLS_CA_FILE: certificate, TEMPORAL_TLS_SERVER_NAME: 'temporal' }),
    ).toEqual({
      serverRootCACertificate: Buffer.from(pem('CERTIFICATE')),
      serverNameOverride: 'temporal',
    });
  });

  it.each([
    [
      { TEMPORAL_TLS_CERT_FILE: certificate },
      /TEMPORAL_TLS_KEY_FILE: is not set, and TEMPORAL_TLS_CERT_FILE is/,
    ],
    [{ TEMPORAL_TLS_KEY_FILE: key }, /TEMPORAL_TLS_CERT_FILE: is not set, and TEMPORAL_TLS_KEY_FILE is/],
    [
      { TEMPORAL_TLS: 'false', TEMPORAL_TLS_CA_FILE: certificate },
      /TEMPORAL_TLS: is false, and TEMPORAL_TLS_CA_FILE asks for TLS/,
    ],
    [
      { TEMPORAL_TLS_CA_FILE: '/nowhere' },
      /TEMPORAL_TLS_CA_FILE: the file \/nowhere cannot be read \(ENOENT\)/,
    ],
  ])('%j is refused', (env, words) => {
    expect(() => tls(env)).toThrow(words);
  });

  it('takes no file without PEM, and never shows what is in it', () => {
    const wrong = file('wrong.key', 'a secret that is no key');
    const read = () => tls({ TEMPORAL_TLS_CERT_FILE: certificate, TEMPORAL_TLS_KEY_FILE: wrong });
    expect(read).toThrow(/TEMPORAL_TLS_KEY_FILE: the file .*wrong\.key holds no PEM/);
    expect(read).not.toThrow(/a secret that is no key/);
  });
});
