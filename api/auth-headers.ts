import type { IncomingMessage } from 'node:http';
import { AgentRunError } from '../contract/errors.js';

const scheme = 'bearer';

/**
 * The token of the `Authorization` header; undefined without one. A token in the URL is not looked at: URLs are logged. In linear time, whatever is sent
 * (requirements.md A.2.d 34).
 *
 * @throws AgentRunError `unauthorized` for two headers, another scheme, or anything but one word after it.
 */
export function bearerToken(request: IncomingMessage): string | undefined {
  // Node keeps the first of several and says nothing: which of them somebody in between has checked is not known.
  const [header, ...others] = request.headersDistinct.authorization ?? [];
  if (header === undefined) return undefined;
  if (others.length > 0) throw new AgentRunError('unauthorized', 'authorization: expected one header');
  const rest = header.slice(scheme.length);
  const word = rest.trim();
  const isBearer = header.slice(0, scheme.length).toLowerCase() === scheme && rest.startsWith(' ');
  if (!isBearer || word === '' || /\s/.test(word))
    throw new AgentRunError('unauthorized', 'authorization: expected Bearer and a token');
  return word;
}

/** The names of this machine that no DNS server answers for. */
const localHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/** What a proxy adds, and nobody who asks from this machine sends. */
const forwardingHeader = /^(?:forwarded|via|x-real-ip|x-forwarded-.*)$/;

/**
 * Where nobody needs a token, only names of this machine are answered, whatever is asked: a page in the user's browser could let a name of its own point
 * here (DNS rebinding) and read even what needs no token.
 *
 * @throws AgentRunError `forbidden`.
 */
export function requireLocalHost(request: IncomingMessage): void {
  const { host } = request.headers;
  if (host !== undefined && localHost.test(host)) return;
  throw new AgentRunError(
    'forbidden',
    'host: expected localhost, 127.0.0.1 or [::1] while no API token is configured',
  );
}

/**
 * Where nobody needs a token, a page of another site in the user's browser must not act for them, nor somebody elsewhere through a proxy on this machine.
 *
 * @throws AgentRunError `forbidden`.
 */
export function requireLocalCaller(request: IncomingMessage): void {
  const { origin, host, 'sec-fetch-site': site } = request.headers;
  const header = Object.keys(request.headers).find((name) => forwardingHeader.test(name));
  if (header !== undefined) {
    throw new AgentRunError(
      'forbidden',
      `${header}: requests through a proxy are refused while no API token is configured`,
    );
  }
  const isOfOtherOrigin = origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host);
  if (isOfOtherOrigin || site === 'cross-site' || site === 'same-site') {
    throw new AgentRunError(
      'forbidden',
      'requests of other sites are refused while no API token is configured',
    );
  }
}
