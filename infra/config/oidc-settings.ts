/** Settings of the issuer. */
export interface OidcSettings {
  /** As in the tokens' `iss`, to the letter. */
  readonly issuer: string;
  /** What `aud` must hold. */
  readonly audience: string;
  /** Claim with the scopes: words of a text, or a list. */
  readonly scopeClaim: string;
  /** Claim with the tenant; undefined: the tokens name none. */
  readonly tenantClaim: string | undefined;
  /** What the header's `typ` must be; undefined: anything. */
  readonly tokenType: string | undefined;
}

/** Names and addresses of the machine itself, as a setting or a URL writes them. */
export function isLoopbackName(host: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|::1|\[::1\])$/i.test(host);
}

/** Whether keys may be read from there: who can change them on the way can sign. Plain http is for the machine itself. */
export function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password, search, hash } = new URL(text);
  if (username !== '' || password !== '' || hash !== '') return false;
  if (protocol === 'https:') return true;
  return protocol === 'http:' && search === '' && isLoopbackName(hostname);
}

/** Whether the keys of this issuer may be read from there: of one elsewhere not from this machine, where anything may listen. */
export function isTrustworthyKeysUrl(keysUrl: string, issuer: string): boolean {
  if (!isTrustworthyUrl(keysUrl)) return false;
  return new URL(keysUrl).protocol === 'https:' || isLoopbackName(new URL(issuer).hostname);
}
