import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  type RemoteJWKSet,
} from 'jose';
import { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import { type TokenScope, tokenScopes } from '../../contract/route-contract.js';
import { isTrustworthyUrl, type OidcSettings } from '../config/oidc-settings.js';
import type { Logger } from '../telemetry/logger.js';
import { boundedGet } from './bounded-fetch.js';

/** Signatures with a key pair only: whoever reads the issuer's keys must not be able to sign. */
const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const clockToleranceSeconds = 30;
const timeoutMs = 3_000;
/** How long the discovery document is believed. Keys are read anew after ten minutes, and for a key id that is not known. */
const discoveryAgeMs = 3_600_000;

/** Who a token of the issuer belongs to. */
export interface OidcIdentity {
  /** `sub` */
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  readonly tenantId: string | undefined;
}

const wordSchema = z.string().regex(/^\P{Cc}{1,200}$/u);
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
  #keys: { readonly set: RemoteJWKSet; readonly uri: string } | undefined;
  #discoverAgainAtMs = Number.NEGATIVE_INFINITY;
  #discovering: Promise<RemoteJWKSet> | undefined;

  /** @param options.keyPauseMs no new read of the keys this soon after the last, so that made-up key ids do not cause one each. */
  constructor(settings: OidcSettings, options: { readonly logger: Logger; readonly keyPauseMs?: number }) {
    this.#settings = settings;
    this.#logger = options.logger;
    this.#keyPauseMs = options.keyPauseMs ?? 10_000;
  }

  /**
   * @throws AgentRunError `unauthorized`, with the class in `details.code`; `forbidden` for a token that names no tenant; `unavailable` when the keys
   * cannot be had, so that nobody takes an outage of the issuer for a wrong token.
   */
  async verify(token: string): Promise<OidcIdentity> {
    let payload: JWTPayload;
    try {
      const verified = await jwtVerify(token, this.#keyOf, {
        algorithms,
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
    const tenant = wordSchema.safeParse(payload[tenantClaim]);
    if (!tenant.success) throw new AgentRunError('forbidden', `the token has no claim ${tenantClaim}`);
    return tenant.data;
  }

  readonly #keyOf: JWTVerifyGetKey = async (header, token) => {
    const keys = await this.#keySet();
    try {
      return await keys(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
        throw error;
      // A key type that fits no algorithm of ours is the token's fault too.
      if (error instanceof errors.JOSENotSupported) throw error;
      throw this.#unavailable(error, 'the keys of the OIDC issuer cannot be read');
    }
  };

  async #keySet(): Promise<RemoteJWKSet> {
    const known = this.#keys?.set;
    if (known !== undefined && performance.now() < this.#discoverAgainAtMs) return known;
    this.#discovering ??= this.#discover().finally(() => {
      this.#discovering = undefined;
    });
    try {
      return await this.#discovering;
    } catch (error) {
      if (known === undefined) throw this.#unavailable(error, 'the OIDC issuer cannot be asked for its keys');
      // What was said an hour ago is better than nobody getting in; asked again in a minute.
      this.#logger.warn({ cause: error }, 'the discovery document of the OIDC issuer cannot be read anew');
      this.#discoverAgainAtMs = performance.now() + 60_000;
      return known;
    }
  }

  async #discover(): Promise<RemoteJWKSet> {
    const { issuer } = this.#settings;
    const response = await boundedGet(`${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`, {
      timeoutMs,
    });
    if (response.status !== 200) throw new Error(`the discovery document answers ${response.status}`);
    const said = discoverySchema.parse(await response.json());
    // OpenID Connect Discovery 4.3: else another issuer could be slipped in.
    if (said.issuer !== issuer) throw new Error('the discovery document is of another issuer');
    if (!isTrustworthyUrl(said.jwks_uri)) throw new Error('jwks_uri: expected an https:// URL');
    this.#discoverAgainAtMs = performance.now() + discoveryAgeMs;
    if (this.#keys?.uri !== said.jwks_uri) {
      const set = createRemoteJWKSet(new URL(said.jwks_uri), {
        timeoutDuration: timeoutMs,
        cooldownDuration: this.#keyPauseMs,
        [customFetch]: (url, { headers }) => boundedGet(url, { timeoutMs, headers }),
      });
      this.#keys = { set, uri: said.jwks_uri };
    }
    return this.#keys.set;
  }

  #unavailable(cause: unknown, message: string): AgentRunError {
    this.#logger.warn({ cause }, message);
    return new AgentRunError('unavailable', message, { retryAfterSeconds: 5, cause });
  }
}

const discoverySchema = z.object({ issuer: z.string(), jwks_uri: z.string() });

const refused = (code: string) =>
  new AgentRunError('unauthorized', `the token was refused: ${code}`, { details: { code } });

function refusalCode(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return 'wrong-audience';
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
