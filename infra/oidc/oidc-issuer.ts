import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  decodeJwt,
  errors,
  type FlattenedJWSInput,
  type JWKSCacheInput,
  type JWSHeaderParameters,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwksCache,
  jwtVerify,
  type RemoteJWKSet,
} from 'jose';
import { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import { type TokenScope, tokenScopes } from '../../contract/route-contract.js';
import { isTrustworthyKeysUrl, type OidcSettings } from '../config/oidc-settings.js';
import type { Logger } from '../telemetry/logger.js';
import { boundedGet } from './bounded-fetch.js';

/** Signatures with a key pair only: whoever reads the issuer's keys must not be able to sign. */
const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const clockToleranceSeconds = 30;
const timeoutMs = 3_000;
/** How long the discovery document is believed. */
const discoveryAgeMs = 3_600_000;
/** Keys are read anew after this time, and for a key id that is not known. */
const keyAgeMs = 600_000;
/** Keys of so long ago still count when they cannot be read anew: a token lives no longer as a rule. */
const staleKeysMs = 3_600_000;
/** An issuer that has just failed is not asked again, so that tokens of nobody cause neither requests nor waiting. */
const failurePauseMs = 5_000;
const warnEveryMs = 60_000;

interface KnownKeys {
  readonly uri: string;
  readonly set: RemoteJWKSet;
  /** Where jose writes the keys as they were last read, and when. */
  readonly last: JWKSCacheInput;
}

/** Who a token of the issuer belongs to. */
export interface OidcIdentity {
  /** `sub` */
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  readonly tenantId: string | undefined;
}

const wordSchema = z.string().regex(/^\P{Cc}{1,200}$/u);
const tenantSchema = wordSchema.refine((tenant) => tenant === tenant.trim());
const scopesSchema = z
  .union([z.string().transform((text) => text.split(' ')), z.array(z.string())])
  .default([]);

/**
 * Checks access tokens of one OpenID Connect issuer (docs/adr/0015). Its keys are found by its discovery document. Opens nothing until the first
 * token comes, so that an issuer that is away does not keep the API from starting.
 */
export class OidcIssuer {
  readonly #settings: OidcSettings;
  readonly #logger: Logger;
  readonly #keyPauseMs: number;
  readonly #keyAgeMs: number;
  readonly #staleKeysMs: number;
  readonly #failurePauseMs: number;
  #keys: KnownKeys | undefined;
  #discoverAgainAtMs = Number.NEGATIVE_INFINITY;
  #discovering: Promise<KnownKeys> | undefined;
  #failedUntilMs = Number.NEGATIVE_INFINITY;
  #warnedAtMs = Number.NEGATIVE_INFINITY;
  #unsaid = 0;

  /**
   * @param options.keyPauseMs no new read of the keys this soon after the last, so that made-up key ids do not cause one each.
   * @param options.keyAgeMs keys are read anew after this time.
   * @param options.staleKeysMs how old keys may be that cannot be read anew.
   * @param options.failurePauseMs how long an issuer that has failed is left alone.
   */
  constructor(
    settings: OidcSettings,
    options: {
      readonly logger: Logger;
      readonly keyPauseMs?: number;
      readonly keyAgeMs?: number;
      readonly staleKeysMs?: number;
      readonly failurePauseMs?: number;
    },
  ) {
    this.#settings = settings;
    this.#logger = options.logger;
    this.#keyPauseMs = options.keyPauseMs ?? 10_000;
    this.#keyAgeMs = options.keyAgeMs ?? keyAgeMs;
    this.#staleKeysMs = options.staleKeysMs ?? staleKeysMs;
    this.#failurePauseMs = options.failurePauseMs ?? failurePauseMs;
  }

  /**
   * @throws AgentRunError `unauthorized`, with the class in `details.code`; `forbidden` for a token that names no tenant; `unavailable` when the keys
   * cannot be had, so that nobody takes an outage of the issuer for a wrong token.
   */
  async verify(token: string): Promise<OidcIdentity> {
    let payload: JWTPayload;
    try {
      // Before its keys are looked for: a token of somebody else is no reason to ask the issuer.
      if (decodeJwt(token).iss !== this.#settings.issuer) throw refused('wrong-issuer');
      const { tokenType } = this.#settings;
      const verified = await jwtVerify(token, this.#keyOf, {
        algorithms,
        ...(tokenType === undefined ? {} : { typ: tokenType }),
        issuer: this.#settings.issuer,
        audience: this.#settings.audience,
        requiredClaims: ['exp', 'sub'],
        clockTolerance: clockToleranceSeconds,
      });
      payload = verified.payload;
    } catch (error) {
      if (error instanceof AgentRunError) throw error;
      throw refused(refusalCode(error));
    }
    const name = wordSchema.safeParse(payload.sub);
    const said = scopesSchema.safeParse(payload[this.#settings.scopeClaim]);
    if (!name.success || !said.success) throw refused('malformed');
    const scopes = tokenScopes.filter((scope) => said.data.includes(`agentrun:${scope}`));
    return { name: name.data, scopes, tenantId: this.#tenantOf(payload, scopes) };
  }

  /**
   * With a tenant claim every token must have it, also an administrator's. Without one a token is bound to no tenant and would see all of them: that is
   * for administrators only.
   */
  #tenantOf(payload: JWTPayload, scopes: readonly TokenScope[]): string | undefined {
    const { tenantClaim } = this.#settings;
    if (tenantClaim === undefined) {
      if (scopes.includes('admin')) return undefined;
      throw new AgentRunError(
        'forbidden',
        'tokens of the issuer name no tenant: only those of scope agentrun:admin are let in',
      );
    }
    const tenant = tenantSchema.safeParse(payload[tenantClaim]);
    if (!tenant.success)
      throw new AgentRunError('forbidden', `the token has no claim ${tenantClaim} that is a tenant`);
    return tenant.data;
  }

  readonly #keyOf: JWTVerifyGetKey = async (header, token) => {
    const keys = await this.#keySet();
    if (performance.now() < this.#failedUntilMs) return this.#lastKeyOf(keys, header, token);
    try {
      return await keys.set(header, token);
    } catch (error) {
      if (isFaultOfToken(error)) throw error;
      this.#failed(error, 'the keys of the OIDC issuer cannot be read');
      return this.#lastKeyOf(keys, header, token);
    }
  };

  /** From the keys as they were last read; one that is not among them may be there by now, which nobody can say. */
  async #lastKeyOf({ last }: KnownKeys, header: JWSHeaderParameters, token: FlattenedJWSInput) {
    const { jwks, uat: readAtMs } = last;
    if (jwks === undefined || readAtMs === undefined || Date.now() - readAtMs > this.#staleKeysMs)
      throw unavailable('the keys of the OIDC issuer cannot be read');
    try {
      return await createLocalJWKSet(jwks)(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey)
        throw unavailable('the keys of the OIDC issuer cannot be read', error);
      throw error;
    }
  }

  async #keySet(): Promise<KnownKeys> {
    const known = this.#keys;
    if (known !== undefined && performance.now() < this.#discoverAgainAtMs) return known;
    const message = 'the OIDC issuer cannot be asked for its keys';
    if (known === undefined && performance.now() < this.#failedUntilMs) throw unavailable(message);
    this.#discovering ??= this.#discover().finally(() => {
      this.#discovering = undefined;
    });
    try {
      return await this.#discovering;
    } catch (error) {
      if (known === undefined) {
        this.#failed(error, message);
        throw unavailable(message, error);
      }
      // What was said an hour ago is better than nobody getting in; asked again in a minute.
      this.#warn(error, 'the discovery document of the OIDC issuer cannot be read anew');
      this.#discoverAgainAtMs = performance.now() + 60_000;
      return known;
    }
  }

  async #discover(): Promise<KnownKeys> {
    const { issuer } = this.#settings;
    const response = await boundedGet(`${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`, {
      timeoutMs,
    });
    if (response.status !== 200) throw new Error(`the discovery document answers ${response.status}`);
    const said = discoverySchema.parse(await response.json());
    // OpenID Connect Discovery 4.3: else another issuer could be slipped in.
    if (said.issuer !== issuer) throw new Error('the discovery document is of another issuer');
    if (!isTrustworthyKeysUrl(said.jwks_uri, issuer)) throw new Error('jwks_uri: expected an https:// URL');
    this.#discoverAgainAtMs = performance.now() + discoveryAgeMs;
    if (this.#keys?.uri !== said.jwks_uri) {
      const last: JWKSCacheInput = {};
      const set = createRemoteJWKSet(new URL(said.jwks_uri), {
        timeoutDuration: timeoutMs,
        cooldownDuration: this.#keyPauseMs,
        cacheMaxAge: this.#keyAgeMs,
        [customFetch]: (url, { headers }) => boundedGet(url, { timeoutMs, headers }),
        [jwksCache]: last,
      });
      this.#keys = { set, last, uri: said.jwks_uri };
    }
    return this.#keys;
  }

  #failed(cause: unknown, message: string): void {
    this.#failedUntilMs = performance.now() + this.#failurePauseMs;
    this.#warn(cause, message);
  }

  /** A line a minute: during an outage every request fails. */
  #warn(cause: unknown, message: string): void {
    if (performance.now() - this.#warnedAtMs < warnEveryMs) {
      this.#unsaid += 1;
      return;
    }
    this.#warnedAtMs = performance.now();
    this.#logger.warn({ cause, unsaid: this.#unsaid }, message);
    this.#unsaid = 0;
  }
}

/** Also a key type that fits no algorithm of ours. */
const isFaultOfToken = (error: unknown): boolean =>
  error instanceof errors.JWKSNoMatchingKey ||
  error instanceof errors.JWKSMultipleMatchingKeys ||
  error instanceof errors.JOSENotSupported;

const unavailable = (message: string, cause?: unknown) =>
  new AgentRunError('unavailable', message, { retryAfterSeconds: 5, cause });

const discoverySchema = z.object({ issuer: z.string(), jwks_uri: z.string() });

const refused = (code: string) =>
  new AgentRunError('unauthorized', `the token was refused: ${code}`, { details: { code } });

function refusalCode(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return 'wrong-audience';
    if (error.claim === 'typ') return 'wrong-type';
    return error.claim === 'iss' ? 'wrong-issuer' : 'malformed';
  }
  if (
    error instanceof errors.JWSSignatureVerificationFailed ||
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys
  )
    return 'bad-signature';
  return 'malformed';
}
