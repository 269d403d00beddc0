import type { RequestHandler } from 'express';
import { AgentRunError } from '../contract/errors.js';
import type { RouteMethod } from '../contract/route-contract.js';
import { isPreflight } from './cors.js';

/** What a path answers to all methods but those that it has, `HEAD` being one wherever `GET` is: `OPTIONS` says which, the rest is 405. */
export function otherMethods(methods: readonly RouteMethod[]): RequestHandler {
  const names = methods.map((method) => method.toUpperCase());
  const allowed = [...names, ...(names.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
  return (request, response) => {
    response.setHeader('allow', allowed);
    if (isPreflight(request, response)) response.setHeader('access-control-allow-methods', allowed);
    if (request.method !== 'OPTIONS') {
      throw new AgentRunError('method-not-allowed', `${request.method} is not allowed here: ${allowed}`);
    }
    response.status(204).end();
  };
}
