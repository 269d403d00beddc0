import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isTrustworthyKeysUrl } from '../../infra/config/oidc-settings.js';
import { OidcIssuer } from '../../infra/oidc/oidc-issuer.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { newSessionId } from '../support/turns.js';

interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
}

async function newKey(kid: string, alg = 'RS256'): Promise<SigningKey> {
  return { kid, alg, ...(await generateKeyPair(alg, { extractable: true })) };
}

/** A real issuer over HTTP: discovery document and keys, which a test may exchange or take away. */
class Issuer {
  keys: SigningKey[];
  isUp = true;
  claimedIssuer: string | undefined;
  /** Of all, also those that are told that it is away. */
  requests = 0;
  reads = 0;
  readonly #server: Server;

  constructor(first: SigningKey) {
    this.keys = [first];
    this.#server = createServer((request, response) => {
      const answer = async () => {
        this.requests += 1;
        if (!this.isUp) return response.writeHead(503).end();
        const { issuer } = this;
        if (request.url === '/.well-known/openid-configuration')
          return response.end(
            JSON.stringify({ issuer: this.claimedIssuer ?? issuer, jwks_uri: `${issuer}/keys` }),
          );
        this.reads += 1;
        const keys = await Promise.all(
          this.keys.map(async ({ kid, alg, publicKey }) => ({ ...(await exportJWK(publicKey)), kid, alg })),
        );
        return response.end(JSON.stringify({ keys }));
      };
      void answer();
    });
  }

  get issuer(): string {
    const address: AddressInfo | string | null = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return `http://127.0.0.1:${address.port}`;
  }

  start(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

const issuers: Issuer[] = [];
async function startedIssuer(): Promise<Issuer> {
  const started = new Issuer(key);
  issuers.push(started);
  await started.start();
  return started;
}

let postgres: TestPostgres;
let database: TestDatabase;
let issuer: Issuer;
let api: TestApi;
let key: SigningKey;
const apis: TestApi[] = [];
const logger = createLogger({ name: 'test', level: 'silent' });

async function apiWith(
  tenantClaim: string | undefined,
  of = issuer,
  more: { tokenType?: string; timing?: Partial<ConstructorParameters<typeof OidcIssuer>[1]> } = {},
): Promise<TestApi> {
  const settings = {
    issuer: of.issuer,
    audience: 'agentrun',
    scopeClaim: 'scope',
    tenantClaim,
    tokenType: more.tokenType,
  };
  const timing = { logger, keyPauseMs: 0, failurePauseMs: 0, ...more.timing };
  const started = await startApi(database, { oidc: new OidcIssuer(settings, timing) });
  apis.push(started);
  return started;
}

beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  key = await newKey('k1');
  issuer = new Issuer(key);
  await issuer.start();
  api = await apiWith('tenant');
});
afterAll(async () => {
  await Promise.all(apis.map((started) => started.stop()));
  for (const started of [issuer, ...issuers]) started.stop();
  await postgres.stop();
});

const claims = { sub: 'ana', aud: 'agentrun', scope: 'openid agentrun:operate', tenant: 'acme' };

function token(
  more: Record<string, unknown> = {},
  by = key,
  lifeSeconds: number | null = 300,
): Promise<string> {
  const jwt = new SignJWT({ iss: issuer.issuer, ...claims, ...more }).setProtectedHeader({
    alg: by.alg,
    kid: by.kid,
    typ: 'JWT',
  });
  if (lifeSeconds !== null) jwt.setExpirationTime(Math.floor(Date.now() / 1_000) + lifeSeconds);
  return jwt.sign(by.privateKey);
}

async function outcome(sent: string, on = api): Promise<[number, unknown]> {
  const answer = await on.call('GET', '/api/v1/sessions/none', { token: sent });
  expect(answer.text).not.toContain(sent);
  return [answer.status, answer.body.failureKind];
}
const accepted = [404, 'not-found'];
const refused = [401, 'unauthorized'];

describe('a token of the issuer', () => {
  it('is let in, with scopes as words or as a list', async () => {
    expect(await outcome(await token())).toEqual(accepted);
    expect(await outcome(await token({ scope: ['agentrun:read', 'x'] }))).toEqual(accepted);
    expect(await outcome(await token({}, key, -20))).toEqual(accepted);
  });

  it.each<[string, Record<string, unknown>, number | null]>([
    ['that has expired', {}, -60],
    ['without an expiry', {}, null],
    ['for another audience', { aud: 'other' }, 300],
    ['of another issuer', { iss: 'https://other.example' }, 300],
    ['without a subject', { sub: undefined }, 300],
    ['that is not yet good', { nbf: Math.floor(Date.now() / 1_000) + 3_600 }, 300],
    ['with scopes that are none', { scope: { admin: true } }, 300],
  ])('%s is 401', async (_name, more, lifeSeconds) => {
    expect(await outcome(await token(more, key, lifeSeconds))).toEqual(refused);
  });

  it('that is not signed, or with the public key as a shared secret, is 401', async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const payload = { ...claims, iss: issuer.issuer, exp: Math.floor(Date.now() / 1_000) + 300 };
    expect(await outcome(`${part({ alg: 'none', kid: 'k1' })}.${part(payload)}.`)).toEqual(refused);
    const shared = new TextEncoder().encode(await exportSPKI(key.publicKey));
    const forged = await new SignJWT(payload).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(shared);
    expect(await outcome(forged)).toEqual(refused);
  });

  it('by a key that is not its own is 401; by one that it has taken up since, it is let in', async () => {
    const next = await newKey('k2', 'ES256');
    expect(await outcome(await token({}, next))).toEqual(refused);
    issuer.keys = [key, next];
    expect(await outcome(await token({}, next))).toEqual(accepted);
    const stranger = await newKey('k1');
    expect(await outcome(await token({}, stranger))).toEqual(refused);
  });

  it('does what its scope says, for its tenant', async () => {
    expect(await outcome(await token({ scope: 'openid' }))).toEqual([403, 'forbidden']);
    const sessionId = newSessionId();
    const create = async (sent: string, tenantId: string) =>
      api.call('POST', '/api/v1/sessions', {
        token: sent,
        body: { sessionId, tenantId, projectId: 'web', backendProfile: 'codex' },
      });
    expect((await create(await token({ scope: 'agentrun:read' }), 'acme')).status).toBe(403);
    expect((await create(await token(), 'other')).status).toBe(403);
    expect((await create(await token(), 'acme')).status).toBe(200);
    const foreign = await token({ tenant: 'other', scope: 'agentrun:admin' });
    const read = await api.call('GET', `/api/v1/sessions/${sessionId}`, { token: foreign });
    expect([read.status, read.body.failureKind]).toEqual([404, 'not-found']);
  });

  it('that names no tenant is 403, an administrator too, unless no tenant claim is configured', async () => {
    for (const scope of ['agentrun:operate', 'agentrun:admin'])
      expect(await outcome(await token({ scope, tenant: undefined }))).toEqual([403, 'forbidden']);
    const unbound = await apiWith(undefined);
    expect(await outcome(await token({ scope: 'agentrun:operate' }), unbound)).toEqual([403, 'forbidden']);
    expect(await outcome(await token({ scope: 'agentrun:admin' }), unbound)).toEqual(accepted);
  });

  it.each([' acme', 'acme ', ' ', '', ['acme'], 'a\nb'])('whose tenant is %j is 403', async (tenant) => {
    expect(await outcome(await token({ tenant }))).toEqual([403, 'forbidden']);
  });

  it('that is an ID token is 401 where access tokens have a type', async () => {
    const typed = await apiWith('tenant', issuer, { tokenType: 'at+jwt' });
    expect(await outcome(await token(), typed)).toEqual(refused);
    for (const typ of ['at+jwt', 'application/at+jwt']) {
      const access = await new SignJWT({ iss: issuer.issuer, ...claims })
        .setProtectedHeader({ alg: key.alg, kid: key.kid, typ })
        .setExpirationTime('5m')
        .sign(key.privateKey);
      expect(await outcome(access, typed)).toEqual(accepted);
    }
  });
});

it.each([
  ['https://id.example/', 'https://keys.example/x', true],
  ['https://id.example/', 'http://127.0.0.1:8080/keys', false],
  ['https://id.example/', 'http://keys.example/x', false],
  ['http://localhost:9000', 'http://127.0.0.1:8080/keys', true],
  ['https://localhost:9000', 'http://localhost:9000/keys', true],
])('the keys of %s may be read from %s: %s', (of, from, expected) => {
  expect(isTrustworthyKeysUrl(from, of)).toBe(expected);
});

describe('an issuer', () => {
  it('that is away is 503, not 401; API tokens are good all the same', async () => {
    const away = new Issuer(key);
    await away.start();
    away.isUp = false;
    const started = await apiWith('tenant', away);
    const sent = await token({ iss: away.issuer });
    const answer = await started.call('GET', '/api/v1/sessions/none', { token: sent });
    expect([answer.status, answer.body.failureKind]).toEqual([503, 'unavailable']);
    expect(answer.headers.get('retry-after')).toBe('5');
    expect((await started.call('GET', '/api/v1/sessions/none')).status).toBe(404);
    away.isUp = true;
    away.claimedIssuer = issuer.issuer;
    expect(await outcome(sent, started)).toEqual([503, 'unavailable']);
    away.claimedIssuer = undefined;
    expect(await outcome(sent, started)).toEqual(accepted);
    away.stop();
    // Its keys are known.
    expect(await outcome(sent, started)).toEqual(accepted);
  });

  it('is not asked about tokens of another: they are 401 at once, also while it is away', async () => {
    const away = await startedIssuer();
    away.isUp = false;
    const started = await apiWith('tenant', away);
    for (let sent = 0; sent < 20; sent += 1)
      expect(await outcome(await token({ iss: 'https://other.example' }), started)).toEqual(refused);
    expect(away.requests).toBe(0);
  });

  it('that fails is left alone for a while, and said to be away in one line', async () => {
    const away = await startedIssuer();
    away.isUp = false;
    const lines: string[] = [];
    const heard = createLogger({
      name: 'test',
      level: 'warn',
      destination: { write: (line) => void lines.push(line) },
    });
    const started = await apiWith('tenant', away, { timing: { logger: heard, failurePauseMs: 60_000 } });
    const sent = await token({ iss: away.issuer });
    for (let attempt = 0; attempt < 20; attempt += 1)
      expect(await outcome(sent, started)).toEqual([503, 'unavailable']);
    expect([away.requests, lines.length]).toEqual([1, 1]);
  });

  it('that goes away is believed by its last keys for a bounded time', async () => {
    const away = await startedIssuer();
    const timing = { keyAgeMs: 0, failurePauseMs: 60_000 };
    const [patient, strict] = [
      await apiWith('tenant', away, { timing }),
      await apiWith('tenant', away, { timing: { ...timing, staleKeysMs: 0 } }),
    ];
    const sent = await token({ iss: away.issuer });
    for (const started of [patient, strict]) expect(await outcome(sent, started)).toEqual(accepted);
    away.isUp = false;
    const before = away.requests;
    for (let attempt = 0; attempt < 5; attempt += 1) expect(await outcome(sent, patient)).toEqual(accepted);
    expect(away.requests - before).toBe(1);
    // By a key that it may have taken up since.
    const next = await token({ iss: away.issuer }, await newKey('k9'));
    expect(await outcome(next, patient)).toEqual([503, 'unavailable']);
    expect(await outcome(await token({ iss: away.issuer }, await newKey('k1')), patient)).toEqual(refused);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await outcome(sent, strict)).toEqual([503, 'unavailable']);
  });

  it('that is not configured lets nobody in', async () => {
    const plain = await startApi(database);
    apis.push(plain);
    expect(await outcome(await token(), plain)).toEqual(refused);
  });
});
