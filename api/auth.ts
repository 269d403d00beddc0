import type { IncomingMessage } from 'node:http';
import { decodeJwt, type JWTPayload } from 'jose';
import { AgentRunError } from '../contract/errors.js';
import { type AuthRule, type TokenScope, tokenScopes } from '../contract/route-contract.js';
import type { OidcIssuer } from '../infra/oidc/oidc-issuer.js';
import { type LaunchClaims, type RunnerClaims, tokenAudiences } from '../infra/tokens/claims.js';
import type { RunnerTokens } from '../infra/tokens/runner-tokens.js';
import type { RunnerIdentity } from '../store/runner-identity.js';
import { bearerToken, requireLocalCaller, requireLocalHost } from './auth-headers.js';
import type { ApiTokens } from './auth-tokens.js';
import type { GuessLimit } from './rate-limit.js';

/** Somebody with an API token or a token of the OIDC issuer; `anonymous` where nobody needs one. */
export interface ApiCaller {
  readonly kind: 'api';
  readonly via: 'token' | 'oidc' | 'anonymous';
  /** Name of the token, or `sub` of the issuer: stable, and with `via` unique. */
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  /** Undefined sees every tenant. */
  readonly tenantId: string | undefined;
}

/** Who calls, after authentication. */
export type Caller =
  | { readonly kind: 'nobody' }
  | ApiCaller
  | { readonly kind: 'launch'; readonly claims: LaunchClaims }
  | { readonly kind: 'runner'; readonly claims: RunnerClaims }
  | { readonly kind: 'run'; readonly runner: RunnerIdentity };

const anonymous: ApiCaller = {
  kind: 'api',
  via: 'anonymous',
  name: 'anonymous',
  scopes: ['admin'],
  tenantId: undefined,
};

/**
 * Checks bearer tokens (decisions.md, Auth; docs/adr/0015). With neither API token nor issuer configured the API listens on loopback only, and everybody
 * there is admin.
 */
export class Authenticator {
  readonly #apiTokens: ApiTokens;
  readonly #runnerTokens: RunnerTokens;
  readonly #oidc: OidcIssuer | undefined;
  readonly #guesses: GuessLimit | undefined;

  constructor(options: {
    readonly apiTokens: ApiTokens;
    readonly runnerTokens: RunnerTokens;
    readonly oidc?: OidcIssuer | undefined;
    readonly guesses?: GuessLimit | undefined;
  }) {
    this.#apiTokens = options.apiTokens;
    this.#runnerTokens = options.runnerTokens;
    this.#oidc = options.oidc;
    this.#guesses = options.guesses;
  }

  /** Names and scopes for health; null when everybody is let in. */
  get summary(): { tokens: { name: string; scopes: string[] }[] } | null {
    if (this.isOpen) return null;
    return { tokens: this.#apiTokens.settings.map(({ name, scopes }) => ({ name, scopes: [...scopes] })) };
  }

  /** Neither token nor issuer is configured: everybody on this machine is admin, and nobody else may reach the API. */
  get isOpen(): boolean {
    return this.#apiTokens.isUnset && this.#oidc === undefined;
  }

  /**
   * Who calls. What the caller may do is asked of {@link requireAllowed}.
   *
   * @param address the client's address, for the limit of guesses.
   * @throws AgentRunError `unauthorized`; `forbidden` for a page of another site and a token that names no tenant; `rate-limited` in place of
   * `unauthorized` after too many unknown tokens of the address; `unavailable` when the issuer's keys cannot be had.
   */
  async identify(request: IncomingMessage, address: string): Promise<Caller> {
    const token = bearerToken(request);
    if (token === undefined) {
      if (!this.isOpen) throw new AgentRunError('unauthorized', 'send a token: authorization: Bearer …');
      requireLocalHost(request);
      requireLocalCaller(request);
      return anonymous;
    }
    // First: a token that is known is good whatever else comes from its address, which may be that of a proxy.
    const found = await this.#apiTokens.find(token);
    if (found !== undefined) {
      const { name, scopes, tenantId } = found;
      return { kind: 'api', via: 'token', name, scopes, tenantId };
    }
    try {
      return await this.#identifySigned(token, unverifiedClaims(token) ?? {});
    } catch (error) {
      if (isGuess(error)) await this.#guesses?.count(address);
      throw error;
    }
  }

  /** Tokens of ours name no issuer. */
  async #identifySigned(token: string, claimed: JWTPayload): Promise<Caller> {
    if (this.#oidc !== undefined && claimed.iss !== undefined) {
      return { kind: 'api', via: 'oidc', ...(await this.#oidc.verify(token)) };
    }
    const audience = typeof claimed.aud === 'string' ? claimed.aud : (claimed.aud?.[0] ?? '');
    switch (audience) {
      case tokenAudiences.launch:
        return { kind: 'launch', claims: await this.#runnerTokens.verifyLaunch(token) };
      case tokenAudiences.runner:
        return { kind: 'runner', claims: await this.#runnerTokens.verifyRunner(token) };
      case tokenAudiences.run: {
        const { run: runId, epoch, sub: runnerId, job: jobName } = await this.#runnerTokens.verifyRun(token);
        return { kind: 'run', runner: { runId, epoch, runnerId, jobName } };
      }
      default:
        throw new AgentRunError('unauthorized', 'the token is not known', { details: { code: 'malformed' } });
    }
  }
}

/** @throws AgentRunError `unauthorized` for another kind of token, `forbidden` for one of too narrow a scope. */
export function requireAllowed(caller: Caller, rule: Exclude<AuthRule, 'none'>): void {
  if (caller.kind === 'api') requireScope(caller.scopes, rule);
  else if (caller.kind === 'nobody' || rule[caller.kind] !== true) {
    throw new AgentRunError('unauthorized', 'the token is not of the kind that this route asks for', {
      details: { code: 'wrong-audience' },
    });
  }
}

function requireScope(scopes: readonly TokenScope[], rule: Exclude<AuthRule, 'none'>): void {
  if (rule.api === undefined)
    throw new AgentRunError('forbidden', 'this route is for runners: it takes a runner token');
  const needed = tokenScopes.indexOf(rule.api);
  if (!scopes.some((scope) => tokenScopes.indexOf(scope) >= needed)) {
    throw new AgentRunError('forbidden', `this route needs a token of scope ${rule.api}`);
  }
}

/** A token that was good once is no guess: after an outage every runner comes with an expired one. */
function isGuess(error: unknown): boolean {
  return (
    error instanceof AgentRunError &&
    error.failureKind === 'unauthorized' &&
    error.details?.code !== 'expired'
  );
}

/** What a token says of itself, to choose the key of its check; believed only after that. Undefined for what is no JSON Web Token. */
function unverifiedClaims(token: string): JWTPayload | undefined {
  try {
    return decodeJwt(token);
  } catch {
    return undefined;
  }
}
