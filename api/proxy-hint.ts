import type { RequestHandler } from 'express';
import type { ApiDeps } from './deps.js';

/**
 * Says once that requests come through a proxy which nobody has told the API of: all clients behind it have one address then, and share its limit of
 * unknown tokens. Anybody can send the header, so it is said once and changes nothing.
 */
export function proxyHint({
  logger,
  trustedProxies,
}: Pick<ApiDeps, 'logger' | 'trustedProxies'>): RequestHandler {
  let isSaid = (trustedProxies ?? 0) > 0;
  return (request, _response, next) => {
    if (!isSaid && request.headers['x-forwarded-for'] !== undefined) {
      isSaid = true;
      logger.warn(
        { variable: 'AGENTRUN_TRUSTED_PROXIES', peer: request.socket.remoteAddress },
        'a request carries X-Forwarded-For and AGENTRUN_TRUSTED_PROXIES is 0: clients behind a proxy count as one address',
      );
    }
    next();
  };
}
