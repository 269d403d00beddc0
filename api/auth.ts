import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { decodeJwt } from 'jose';
import { AgentRunError } from '../contract/errors.js';
import { type AuthRule, type TokenScope, tokenScopes } from '../contract/route-contract.js';
import type { ApiTokenSetting } from '../infra/config/api-config.js';
import { type LaunchClaims, type RunnerClaims, tokenAudiences } from '../infra/tokens/claims.js';
import type { RunnerTokens } from '../infra/tokens/runner-tokens.js';
import type { RunnerIdentity } from '../store/runner-identity.js';

/** Who calls, after authentication. */
export type Caller =
  | { readonly kind: 'nobody' }
  | {
      readonly kind: 'api';
      readonly name: string;
      readonly scopes: readonly TokenScope[];
      readonly tenantId: string | undefined;
    }
  | { readonly kind: 'launch'; readonly claims: LaunchClaims }
  | { readonly kind: 'runner'; readonly claims: RunnerClaims }
  | { readonly kind: 'run'; readonly runner: RunnerIdentity };

/** Checks bearer tokens (decisions.md, Auth). With no API token configured the API listens on loopback only, and everybody there is admin. */
export class Authenticator {
  readonly #apiTokens: readonly (ApiTokenSetting & { readonly digest: Buffer })[];
  readonly #runnerTokens: RunnerTokens;

  constructor(apiTokens: readonly ApiTokenSetting[], runnerTokens: RunnerTokens) {
    this.#apiTokens = apiTokens.map((setting) => ({ ...setting, digest: sha256(setting.token) }));
    this.#runnerTokens = runnerTokens;
  }

  /** Names and scopes for health; null when everybody is let in. */
  get summary(): { tokens: { name: string; scopes: string[] }[] } | null {
    if (this.#apiTokens.length === 0) return null;
    return { tokens: this.#apiTokens.map(({ name, scopes }) => ({ name, scopes: [...scopes] })) };
  }

  /** @throws AgentRunError `unauthorized` or `forbidden`. */
  async authorize(request: IncomingMessage, rule: AuthRule): Promise<Caller> {
    if (rule === 'none') return { kind: 'nobody' };
    const caller = await this.#identify(request);
    if (caller.kind === 'api') requireScope(caller.scopes, rule);
    else if (caller.kind === 'nobody' || rule[caller.kind] !== true) {
      throw new AgentRunError('unauthorized', 'the token is not of the kind that this route asks for', {
        details: { code: 'wrong-audience' },
      });
    }
    return caller;
  }

  async #identify(request: IncomingMessage): Promise<Caller> {
    const token = bearerToken(request);
    if (token === undefined) {
      if (this.#apiTokens.length > 0)
        throw new AgentRunError('unauthorized', 'send a token: authorization: Bearer …');
      requireLocalPage(request);
      return { kind: 'api', name: 'anonymous', scopes: ['admin'], tenantId: undefined };
    }
    const api = this.#findApiToken(token);
    return api ?? this.#identifyRunner(token);
  }

  #findApiToken(token: string): Caller | undefined {
    const digest = sha256(token);
    // Every digest is compared, so that the time tells nothing.
    const found = this.#apiTokens.filter((candidate) => timingSafeEqual(candidate.digest, digest))[0];
    return found === undefined
      ? undefined
      : { kind: 'api', name: found.name, scopes: found.scopes, tenantId: found.tenantId };
  }

  async #identifyRunner(token: string): Promise<Caller> {
    const audience = claimedAudience(token);
    if (audience === tokenAudiences.launch) {
      return { kind: 'launch', claims: await this.#runnerTokens.verifyLaunch(token) };
    }
    if (audience === tokenAudiences.runner) {
      return { kind: 'runner', claims: await this.#runnerTokens.verifyRunner(token) };
    }
    if (audience === tokenAudiences.run) {
      const { run: runId, epoch, sub: runnerId, job: jobName } = await this.#runnerTokens.verifyRun(token);
      return { kind: 'run', runner: { runId, epoch, runnerId, jobName } };
    }
    throw new AgentRunError('unauthorized', 'the token is not known', { details: { code: 'malformed' } });
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

function bearerToken(request: IncomingMessage): string | undefined {
  // Node keeps the first of several and says nothing: which of them somebody in between has checked is not known.
  const [header, ...others] = request.headersDistinct.authorization ?? [];
  if (header === undefined) return undefined;
  if (others.length > 0) throw new AgentRunError('unauthorized', 'authorization: expected one header');
  const match = /^Bearer +(\S+) *$/i.exec(header);
  if (match?.[1] === undefined)
    throw new AgentRunError('unauthorized', 'authorization: expected Bearer and a token');
  return match[1];
}

/** The names of this machine that no DNS server answers for. */
const localHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/**
 * Where nobody needs a token, a page of another site in the user's browser must not act for them: not across origins, and not as the same origin under
 * a name of its own that it lets point here (DNS rebinding).
 */
function requireLocalPage(request: IncomingMessage): void {
  const { origin, host } = request.headers;
  if (host === undefined || !localHost.test(host)) {
    throw new AgentRunError(
      'forbidden',
      'host: expected localhost, 127.0.0.1 or [::1] while no API token is configured',
    );
  }
  if (origin === undefined) return;
  if (!URL.canParse(origin) || new URL(origin).host !== host) {
    throw new AgentRunError(
      'forbidden',
      'requests of other sites are refused while no API token is configured',
    );
  }
}

/** Which key of the check is asked for; believed only after that check. */
function claimedAudience(token: string): string | undefined {
  try {
    const { aud } = decodeJwt(token);
    return typeof aud === 'string' ? aud : aud?.[0];
  } catch {
    return undefined;
  }
}

const sha256 = (text: string) => createHash('sha256').update(text).digest();
