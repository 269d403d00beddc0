import cors from 'cors';
import type { Request, RequestHandler, Response } from 'express';

/** How long a browser may remember that it has asked, in seconds. */
const rememberSeconds = 600;

/**
 * Lets pages of these origins read the answers of the API in a browser, the streams too. Their tokens are in headers: no cookies. All others, and all where
 * the list is empty, get no such header (contract.md 1).
 */
export function allowOrigins(origins: readonly string[]): RequestHandler {
  const allow = cors({
    origin: [...origins],
    // The path says which: it answers the preflight (allowed-methods.ts).
    methods: [],
    preflightContinue: true,
    allowedHeaders: [
      'authorization',
      'content-type',
      'last-event-id',
      'idempotency-key',
      'traceparent',
      'tracestate',
    ],
    exposedHeaders: ['retry-after', 'x-trace-id', 'ratelimit', 'ratelimit-policy'],
    maxAge: rememberSeconds,
  });
  return (request, response, next) => {
    if (origins.length === 0) return next();
    const { origin } = request.headers;
    if (origin !== undefined && origins.includes(origin)) return allow(request, response, next);
    // Also without: a cache must not give to one origin what another got.
    response.vary('Origin');
    next();
  };
}

/** Whether a page of a listed origin asks what it may send; {@link allowOrigins} has said all but the methods. */
export const isPreflight = (request: Request, response: Response): boolean =>
  request.method === 'OPTIONS' && response.hasHeader('access-control-allow-origin');
