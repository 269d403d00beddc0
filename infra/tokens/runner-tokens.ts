import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  createLocalJWKSet,
  errors,
  importJWK,
  type JWK,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  SignJWT,
} from 'jose';
import { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import {
  type LaunchClaims,
  launchClaimsSchema,
  type RunClaims,
  type RunnerClaims,
  runClaimsSchema,
  runnerClaimsSchema,
  tokenAudiences,
} from './claims.js';

/** Life of a run token; every heartbeat brings a fresh one (decisions.md, Auth). */
export const runTokenLifeMs = 15 * 60_000;
const clockToleranceSeconds = 5;
const algorithm = 'ES256';
/** A few for each of the runners that one process serves. */
const rememberedTokens = 4_000;

const keySchema = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  kid: z.string().min(1),
  x: z.string(),
  y: z.string(),
  d: z.string().optional(),
});
type Key = z.infer<typeof keySchema>;
const keySetSchema = z.object({ keys: z.array(keySchema).min(1) });
/** A key is found by its kid: two of one name would make every token of theirs worthless. */
const hasOneKeyPerKid = (keys: readonly Key[]) => new Set(keys.map(({ kid }) => kid)).size === keys.length;
const isPrivate = (key: Key): key is Key & { d: string } => key.d !== undefined;

export interface SignedToken {
  readonly token: string;
  /** ISO 8601 UTC. */
  readonly expiresAt: string;
}

type SigningKey = Awaited<ReturnType<typeof importJWK>>;

/**
 * Makes and checks the ES256 tokens of runners (decisions.md, Auth). The first private key of the set signs; every key verifies, found by
 * `kid`, so that a key can be rotated: add the new one at the end everywhere, put it first, wait for the life of the longest token, remove the old one.
 */
export class RunnerTokens {
  readonly #signWith: { key: SigningKey; kid: string } | undefined;
  readonly #keys: ReturnType<typeof createLocalJWKSet>;

  /**
   * Tokens that were found good, by their digest. The keys of a process never change, so until its time is over a token stays what it is; a runner sends
   * the same one with every batch of events, of which a check of its signature would be a large part.
   */
  readonly #verified = new Map<
    string,
    { readonly audience: string; readonly payload: JWTPayload; readonly expiredFromMs: number }
  >();

  private constructor(publicKeys: JWK[], signWith: { key: SigningKey; kid: string } | undefined) {
    this.#keys = createLocalJWKSet({ keys: publicKeys });
    this.#signWith = signWith;
  }

  /** @throws Error when the file is no JSON Web Key Set with P-256 keys; never with its content. */
  static async fromFile(path: string): Promise<RunnerTokens> {
    let content: unknown;
    try {
      content = JSON.parse(readFileSync(path, 'utf8'));
    } catch {
      throw new Error(`${path} cannot be read as JSON`);
    }
    return RunnerTokens.fromJwks(content);
  }

  static async fromJwks(jwks: unknown): Promise<RunnerTokens> {
    const parsed = keySetSchema.safeParse(jwks);
    if (!parsed.success) throw new Error('expected a JSON Web Key Set with P-256 keys, each with a kid');
    const { keys } = parsed.data;
    if (!hasOneKeyPerKid(keys)) throw new Error('expected a JSON Web Key Set whose keys differ in their kid');
    const signing = keys.find(isPrivate);
    const signWith =
      signing === undefined
        ? undefined
        : { kid: signing.kid, key: await importJWK({ ...signing }, algorithm) };
    const publicKeys = keys.map(({ d: _private, ...key }) => ({ ...key, alg: algorithm, use: 'sig' }));
    return new RunnerTokens(publicKeys, signWith);
  }

  /** For a launch; its life is the runner's life. */
  mintLaunch(claims: LaunchClaims, lifeMs: number): Promise<SignedToken> {
    return this.#sign({ ...claims }, tokenAudiences.launch, claims.job, Date.now() + lifeMs);
  }

  /** Answered by `register`, good until the runner's life ends. */
  mintRunner(claims: RunnerClaims, expiresAtMs: number): Promise<SignedToken> {
    return this.#sign({ ...claims }, tokenAudiences.runner, claims.runner, expiresAtMs);
  }

  /** Answered by `claim`, `next` and every heartbeat; {@link runTokenLifeMs}. */
  mintRun(claims: { runnerId: string; runId: string; epoch: number; jobName: string }): Promise<SignedToken> {
    return this.#sign(
      { run: claims.runId, epoch: claims.epoch, job: claims.jobName },
      tokenAudiences.run,
      claims.runnerId,
      Date.now() + runTokenLifeMs,
    );
  }

  verifyLaunch(token: string): Promise<LaunchClaims> {
    return this.#verify(token, tokenAudiences.launch, launchClaimsSchema);
  }

  verifyRunner(token: string): Promise<RunnerClaims> {
    return this.#verify(token, tokenAudiences.runner, runnerClaimsSchema);
  }

  verifyRun(token: string): Promise<RunClaims> {
    return this.#verify(token, tokenAudiences.run, runClaimsSchema);
  }

  /** By kid only: without one, a set that holds one key would take what another set has signed for no key. */
  readonly #keyOf: JWTVerifyGetKey = (header, token) => {
    if (header.kid === undefined) throw new errors.JWKSNoMatchingKey();
    return this.#keys(header, token);
  };

  async #sign(
    payload: JWTPayload,
    audience: string,
    subject: string,
    expiresAtMs: number,
  ): Promise<SignedToken> {
    if (this.#signWith === undefined) throw new Error('the key set holds no private key');
    const expiresAtSeconds = Math.floor(expiresAtMs / 1_000);
    const token = await new SignJWT(payload)
      .setProtectedHeader({ alg: algorithm, kid: this.#signWith.kid })
      .setAudience(audience)
      .setSubject(subject)
      .setIssuedAt()
      .setExpirationTime(expiresAtSeconds)
      .sign(this.#signWith.key);
    return { token, expiresAt: new Date(expiresAtSeconds * 1_000).toISOString() };
  }

  /** @throws AgentRunError `unauthorized`; `details.code` says which class (requirements.md A.1.a 8). */
  async #verify<Claims extends z.ZodType>(
    token: string,
    audience: string,
    claims: Claims,
  ): Promise<z.output<Claims>> {
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#verified.get(digest);
    const payload =
      known !== undefined && known.audience === audience && Date.now() < known.expiredFromMs
        ? known.payload
        : await this.#verifyAnew(token, audience, digest);
    const parsed = claims.safeParse(payload);
    if (!parsed.success) throw unauthorized('malformed');
    return parsed.data;
  }

  async #verifyAnew(token: string, audience: string, digest: string): Promise<JWTPayload> {
    let payload: JWTPayload;
    try {
      const verified = await jwtVerify(token, this.#keyOf, {
        algorithms: [algorithm],
        audience,
        requiredClaims: ['exp', 'aud', 'sub'],
        clockTolerance: clockToleranceSeconds,
      });
      payload = verified.payload;
    } catch (error) {
      throw unauthorized(refusalCode(error));
    }
    const { exp, nbf } = payload;
    if (exp === undefined || nbf !== undefined) return payload;
    this.#verified.delete(digest);
    const [oldest] = this.#verified.keys();
    if (this.#verified.size >= rememberedTokens && oldest !== undefined) this.#verified.delete(oldest);
    this.#verified.set(digest, {
      audience,
      payload,
      expiredFromMs: (exp + clockToleranceSeconds) * 1_000,
    });
    return payload;
  }
}

const unauthorized = (code: string) =>
  new AgentRunError('unauthorized', `the runner token was refused: ${code}`, { details: { code } });

function refusalCode(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'aud' ? 'wrong-audience' : 'malformed';
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey)
    return 'bad-signature';
  return 'malformed';
}
