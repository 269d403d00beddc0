import { AsyncLocalStorage } from 'node:async_hooks';
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import helmet from 'helmet';
import { AgentRunError } from '../contract/errors.js';
import type { RouteMethod } from '../contract/route-contract.js';
import { answerRoute } from './answer-route.js';
import type { ApiDeps } from './deps.js';
import { writeError } from './envelope.js';
import { toAgentRunError } from './errors.js';
import type { Route } from './route.js';
import { routeTable } from './routes/index.js';
import { type RequestTrace, startRequestTrace } from './trace.js';

const traces = new AsyncLocalStorage<RequestTrace>();

/** The HTTP API as an Express app; it opens and closes nothing. */
export function createApp(deps: ApiDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.use(traced(deps));
  // The API serves JSON, often over plain http in a cluster or on loopback: no HSTS, no policy for pages.
  app.use(
    helmet({
      hsts: false,
      contentSecurityPolicy: {
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
        useDefaults: false,
      },
    }),
  );
  app.use(decodable, withoutPrefix(deps.pathPrefix));
  for (const [path, routes] of byPath(routeTable(deps))) register(app, path, routes, deps);
  app.use((request) => {
    throw new AgentRunError('route-not-found', `no route ${request.method} ${request.path.slice(0, 200)}`);
  });
  app.use(errorHandler(deps));
  return app;
}

function traced(deps: ApiDeps): RequestHandler {
  return (request, response, next) => {
    const trace = startRequestTrace(request);
    const startedMs = performance.now();
    response.setHeader('x-trace-id', trace.traceId);
    response.once('close', () => {
      trace.end(response.statusCode);
      deps.logger.debug(
        {
          method: request.method,
          path: request.originalUrl.split('?')[0],
          status: response.statusCode,
          durationMs: Math.round(performance.now() - startedMs),
          traceId: trace.traceId,
        },
        'request',
      );
    });
    traces.run(trace, next);
  };
}

/** decisions.md: malformed percent-encoding anywhere in the target is 400. */
const decodable: RequestHandler = (request, _response, next) => {
  try {
    decodeURIComponent(request.url);
  } catch {
    throw new AgentRunError('schema-invalid', 'the request target holds malformed percent-encoding');
  }
  next();
};

/** Behind a proxy that keeps the prefix, the API answers with and without it (requirements.md A.0.b). */
function withoutPrefix(prefix: string): RequestHandler {
  return (request, _response, next) => {
    const rest =
      prefix !== '' && request.url.startsWith(prefix) ? request.url.slice(prefix.length) : undefined;
    if (rest === '' || rest?.startsWith('?') === true) request.url = `/${rest}`;
    else if (rest?.startsWith('/') === true) request.url = rest;
    next();
  };
}

function byPath(routes: readonly Route[]): Map<string, Route[]> {
  const grouped = new Map<string, Route[]>();
  for (const route of routes) {
    const { path } = route.contract;
    grouped.set(path, [...(grouped.get(path) ?? []), route]);
  }
  return grouped;
}

function register(app: Express, path: string, routes: readonly Route[], deps: ApiDeps): void {
  const allowed = allowHeader(routes.map((route) => route.contract.method));
  const registered = app.route(path);
  for (const route of routes) {
    registered[route.contract.method]((request, response) =>
      answerRoute(deps, route, { request, response, trace: traces.getStore() ?? startRequestTrace(request) }),
    );
  }
  registered.all((request, response) => {
    response.setHeader('allow', allowed);
    if (request.method === 'OPTIONS') {
      response.status(204).end();
      return;
    }
    throw new AgentRunError('method-not-allowed', `${request.method} is not allowed here: ${allowed}`);
  });
}

function allowHeader(methods: readonly RouteMethod[]): string {
  const names = methods.map((method) => method.toUpperCase());
  return [...names, ...(names.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
}

function errorHandler(deps: ApiDeps): ErrorRequestHandler {
  // Express knows an error handler by its four parameters.
  return (thrown: unknown, request: Request, response: Response, _next: unknown) => {
    const traceId = traces.getStore()?.traceId ?? String(response.getHeader('x-trace-id') ?? '');
    // A client that left in the middle of its body gets no answer.
    if (request.destroyed && !request.complete) {
      response.destroy();
      return;
    }
    const error = toAgentRunError(thrown);
    if (error.httpStatus >= 500) {
      deps.logger.error(
        { cause: thrown, method: request.method, path: request.path, traceId },
        error.message,
      );
    }
    writeError(response, error, traceId);
  };
}
