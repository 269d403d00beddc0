import type { Request, RequestHandler } from 'express';
import type { Logger } from '../infra/telemetry/logger.js';
import { stripPrefix } from './path-prefix.js';

/** A wrong base URL sends every request with a doubled prefix: one line a minute says it. */
const warnEveryMs = 60_000;
const longestWord = 200;

/**
 * The outermost layer: rewrites `request.url` without the path prefix before anything else sees it; `originalUrl` stays for logs. A request whose prefix
 * was doubled is served, counted by the route that it reached (undefined: none), and warned about with its caller (requirements.md A.0.b 16 and 18).
 */
export function prefixLayer(options: {
  readonly prefix: string;
  readonly logger: Pick<Logger, 'warn'>;
  readonly onDoubledPrefix?: ((route: string | undefined) => void) | undefined;
}): RequestHandler {
  const { prefix, logger, onDoubledPrefix } = options;
  let warnedAtMs = Number.NEGATIVE_INFINITY;
  let unsaid = 0;
  const noteDoubled = (request: Request, times: number) => {
    const route = routeOf(request);
    onDoubledPrefix?.(route);
    unsaid += 1;
    if (performance.now() - warnedAtMs < warnEveryMs) return;
    logger.warn(
      {
        method: request.method,
        route: route?.slice(0, longestWord),
        prefix,
        times,
        requests: unsaid,
        userAgent: request.headers['user-agent']?.slice(0, longestWord),
        peer: request.socket.remoteAddress,
      },
      'a request carries the path prefix more than once: its base URL is wrong',
    );
    warnedAtMs = performance.now();
    unsaid = 0;
  };
  return (request, response, next) => {
    const { url, stripped } = stripPrefix(request.url, prefix);
    if (stripped > 0) request.url = url;
    // At the end, when the route is known: what stood in the path is not for the log.
    if (stripped > 1) response.once('close', () => noteDoubled(request, stripped));
    next();
  };
}

function routeOf(request: Request): string | undefined {
  const route: unknown = request.route;
  const path: unknown =
    typeof route === 'object' && route !== null && 'path' in route ? route.path : undefined;
  return typeof path === 'string' ? path : undefined;
}
