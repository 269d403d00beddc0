import { AsyncLocalStorage } from 'node:async_hooks';
import { setMaxListeners } from 'node:events';
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import helmet from 'helmet';
import { AgentRunError } from '../contract/errors.js';
import { logRequest } from './access-log.js';
import { otherMethods } from './allowed-methods.js';
import { answerRoute } from './answer-route.js';
import { Audit } from './audit.js';
import { requireLocalHost } from './auth-headers.js';
import { allowOrigins, isPreflight } from './cors.js';
import type { ApiDeps } from './deps.js';
import { registerDocs } from './docs.js';
import { writeError } from './envelope.js';
import { toAgentRunError } from './errors.js';
import { LongPollLimit } from './long-poll-limit.js';
import { prefixLayer } from './prefix-layer.js';
import { proxyHint } from './proxy-hint.js';
import type { Route } from './route.js';
import { routeTable } from './routes/index.js';
import { StreamServer } from './streams/serve-stream.js';
import { type RequestTrace, startRequestTrace } from './trace.js';

const traces = new AsyncLocalStorage<RequestTrace>();

/** The HTTP API as an Express app; it opens and closes nothing. */
export function createApp(deps: ApiDeps): Express {
  // Every request and every stream listens to it; more than ten are no leak.
  setMaxListeners(0, deps.stopping);
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.set('trust proxy', deps.trustedProxies ?? false);
  app.use(
    prefixLayer({ prefix: deps.pathPrefix, logger: deps.logger, onDoubledPrefix: deps.onDoubledPrefix }),
    traced(deps),
  );
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
  app.use(allowOrigins(deps.corsOrigins ?? []));
  app.use(decodable, localWhereOpen(deps), proxyHint(deps));
  const perApp = { audits: new Audit(deps), polls: new LongPollLimit(), streams: new StreamServer(deps) };
  for (const [path, routes] of byPath(routeTable(deps))) register(app, path, routes, { deps, ...perApp });
  registerDocs(app, deps);
  app.use((request, response) => {
    // The page asks all the same, and reads that there is no such route.
    if (isPreflight(request, response)) return void response.status(204).end();
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
    deps.metrics.requestBegan();
    response.once('close', () => {
      const status = response.statusCode;
      const durationMs = Math.round(performance.now() - startedMs);
      trace.end(status);
      const { method } = request;
      deps.metrics.requestEnded({ operationId: trace.facts.operationId, method, status, durationMs });
      logRequest(deps.logger, trace, { method, status, durationMs });
    });
    traces.run(trace, next);
  };
}

/** decisions.md: malformed percent-encoding anywhere in the target is 400. U+0000 is in nothing that has a name. */
const decodable: RequestHandler = (request, _response, next) => {
  let target: string;
  try {
    target = decodeURIComponent(request.url);
  } catch {
    throw new AgentRunError('schema-invalid', 'the request target holds malformed percent-encoding');
  }
  if (target.includes('\0')) throw new AgentRunError('schema-invalid', 'the request target holds U+0000');
  const hosts = request.headersDistinct.host?.length ?? 0;
  // Of two, a proxy may have looked at the other one (RFC 9112, 3.2).
  if (hosts > 1 || (request.httpVersion === '1.1' && hosts === 0))
    throw new AgentRunError('schema-invalid', 'host: expected one header');
  next();
};

/** While nobody needs a token; what needs none is no exception. */
function localWhereOpen({ authenticator }: ApiDeps): RequestHandler {
  return (request, _response, next) => {
    if (authenticator.isOpen) requireLocalHost(request);
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

function register(
  app: Express,
  path: string,
  routes: readonly Route[],
  { deps, ...perApp }: { deps: ApiDeps; audits: Audit; polls: LongPollLimit; streams: StreamServer },
): void {
  const registered = app.route(path);
  for (const route of routes) {
    registered[route.contract.method]((request, response) =>
      answerRoute(deps, route, {
        request,
        response,
        trace: traces.getStore() ?? startRequestTrace(request),
        ...perApp,
      }),
    );
  }
  registered.all(otherMethods(routes.map((route) => route.contract.method)));
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
    const facts = traces.getStore()?.facts;
    if (facts !== undefined) facts.failureKind = error.failureKind;
    if (error.failureKind === 'unauthorized' || error.failureKind === 'forbidden') {
      deps.metrics.authFailed(authFailureReason(error));
    }
    // Also what only Postgres refused: a schema of ours is too wide.
    if (error.httpStatus >= 500 || error !== thrown) {
      deps.logger.error({ cause: thrown, method: request.method, ...facts, traceId }, error.message);
    }
    writeError(response, error, { traceId, pathPrefix: deps.pathPrefix });
  };
}

function authFailureReason({ failureKind, details }: AgentRunError): string {
  if (failureKind === 'forbidden') return 'forbidden';
  return typeof details?.code === 'string' ? details.code : 'missing';
}
