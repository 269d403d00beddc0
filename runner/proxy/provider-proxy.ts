import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  createServer,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { downstreamHeaders, resetTimeMs, upstreamHeaders } from './proxied-headers.js';
import type { ProxyObservation } from './proxy-observation.js';
import { ResponseObserver } from './response-observer.js';

/** What an agent may ask of the provider (agents.md, architecture.md 7). */
const allowed: ReadonlySet<string> = new Set([
  'POST /v1/responses',
  'POST /v1/responses/compact',
  'GET /v1/models',
]);
const maxRequestBytes = 64 * 1024 * 1024;
/** A backstop behind the agent's own idle limit of 90 s. */
const upstreamIdleMs = 600_000;

export interface ProviderProxyOptions {
  /** The provider's base address, with its own `/v1` or whatever it has. */
  readonly upstreamBaseUrl: string;
  /** The provider's key. */
  readonly key: string;
  /** Called once per forwarded request, before the agent can see the end of the answer. */
  readonly onObservation: (observation: ProxyObservation) => void;
  /** Bytes of an answer passed: the model is at work. */
  readonly onProgress: () => void;
  readonly log: { warn(fields: Record<string, unknown>, message: string): void };
}

/**
 * The provider as the agent sees it: an HTTP server on loopback that swaps a placeholder for the real key, forwards
 * bytes unchanged, and reads usage and errors as they pass. Serves listed paths only, and only while a turn is open.
 */
export class ProviderProxy {
  /** What the agent sends as its key: worth nothing anywhere else, or between turns. */
  readonly placeholderKey = `agentrun-${randomBytes(24).toString('base64url')}`;
  readonly #options: ProviderProxyOptions;
  readonly #server: Server;
  readonly #upstream: URL;
  readonly #agent: HttpAgent;
  readonly #sockets = new Set<Socket>();
  readonly #active = new Set<{ readonly unfinished: () => boolean; readonly abort: () => void }>();
  #turnOpen = false;
  #lastObservation: ProxyObservation | null = null;
  #baseUrl = '';

  constructor(options: ProviderProxyOptions) {
    this.#options = options;
    this.#upstream = new URL(options.upstreamBaseUrl);
    const pool = { keepAlive: true, maxSockets: 16, maxFreeSockets: 4 };
    this.#agent = this.#upstream.protocol === 'https:' ? new HttpsAgent(pool) : new HttpAgent(pool);
    this.#server = createServer((request, response) => this.#serve(request, response));
    this.#server.requestTimeout = 0;
    this.#server.headersTimeout = 30_000;
    this.#server.keepAliveTimeout = 120_000;
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /** Address for the agent's configuration, ending in `/v1`. */
  get baseUrl(): string {
    return this.#baseUrl;
  }

  get lastObservation(): ProxyObservation | null {
    return this.#lastObservation;
  }

  /** Binds a random port on loopback. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', () => {
        this.#server.removeListener('error', reject);
        resolve();
      });
    });
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
    this.#baseUrl = `http://127.0.0.1:${address.port}/v1`;
  }

  openTurn(): void {
    this.#turnOpen = true;
    this.#lastObservation = null;
  }

  /** From now on 403; requests whose answer has not been told to its end are cut. */
  closeTurn(): void {
    this.#turnOpen = false;
    for (const exchange of this.#active) if (exchange.unfinished()) exchange.abort();
  }

  async close(): Promise<void> {
    this.closeTurn();
    this.#agent.destroy();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    if (!this.#isAuthorized(request)) {
      refuse(response, 403, 'agentrun_placeholder', 'this key is not good here');
      return;
    }
    if (!this.#turnOpen) {
      refuse(response, 403, 'agentrun_no_turn', 'no turn is active');
      return;
    }
    if (!allowed.has(`${request.method} ${path}`)) {
      refuse(response, 403, 'agentrun_path', `${request.method} ${path.slice(0, 200)} is not allowed`);
      return;
    }
    this.#forward(request, response, path);
  }

  #isAuthorized(request: IncomingMessage): boolean {
    const given = createHash('sha256')
      .update(request.headers.authorization ?? '')
      .digest();
    const expected = createHash('sha256').update(`Bearer ${this.placeholderKey}`).digest();
    return timingSafeEqual(given, expected);
  }

  #forward(request: IncomingMessage, response: ServerResponse, path: string): void {
    const startedAt = performance.now();
    const target = this.#target(request.url ?? '');
    let observer = new ResponseObserver(undefined);
    let status: number | null = null;
    let resetAtMs: number | null = null;
    let reported = false;

    const report = (ended: ProxyObservation['ended'], errorMessage?: string): void => {
      if (reported) return;
      reported = true;
      const observation: ProxyObservation = {
        path,
        status,
        model: observer.model,
        usage: observer.usage,
        errorCode: observer.errorCode,
        errorMessage: errorMessage ?? observer.errorMessage,
        resetAtMs,
        ended,
        durationMs: Math.round(performance.now() - startedAt),
      };
      this.#lastObservation = observation;
      this.#options.onObservation(observation);
    };

    const send = target.protocol === 'https:' ? httpsRequest : httpRequest;
    const upstream = send(target, {
      method: request.method,
      headers: upstreamHeaders(request.headers, this.#options.key),
      agent: this.#agent,
    });
    const exchange = {
      unfinished: () => !observer.finished,
      abort: () => {
        report('client-left');
        upstream.destroy();
        response.destroy();
      },
    };
    this.#active.add(exchange);
    response.on('close', () => {
      this.#active.delete(exchange);
      if (response.writableFinished) return;
      // The agent left, or we cut it because the provider did: either way nobody reads on.
      report('client-left');
      upstream.destroy();
    });
    upstream.setTimeout(upstreamIdleMs, () =>
      upstream.destroy(new Error('the provider was silent for too long')),
    );
    upstream.on('error', (error: Error) => {
      if (response.headersSent || response.destroyed) {
        report(response.destroyed ? 'client-left' : 'upstream-lost', error.message);
        response.destroy();
        return;
      }
      report('unreachable', error.message);
      this.#options.log.warn(
        { type: error.name, message: error.message, path },
        'the provider cannot be reached',
      );
      refuse(response, 502, 'agentrun_upstream_unreachable', 'the provider cannot be reached');
    });
    upstream.on('response', (answer) => {
      status = answer.statusCode ?? 502;
      resetAtMs = resetTimeMs(answer.headers, Date.now());
      observer = new ResponseObserver(answer.headers['content-type']);
      response.writeHead(status, answer.statusMessage, downstreamHeaders(answer.headers));
      response.flushHeaders();
      answer.on('data', (chunk: Buffer) => {
        this.#options.onProgress();
        observer.feed(chunk);
        // Told before the agent sees it: its turn may end on this very chunk.
        if (observer.finished) report('complete');
        if (!response.write(chunk)) answer.pause();
      });
      response.on('drain', () => answer.resume());
      answer.on('end', () => {
        observer.end(answer.statusCode ?? 502);
        report('complete');
        response.end();
      });
      const lost = (error?: Error): void => {
        if (answer.complete) return;
        report('upstream-lost', error?.message);
        response.destroy();
      };
      answer.on('error', lost);
      answer.on('close', () => lost());
    });

    let sentBytes = 0;
    request.on('data', (chunk: Buffer) => {
      sentBytes += chunk.length;
      if (sentBytes <= maxRequestBytes) return;
      upstream.destroy(new Error('the request is too large'));
      request.destroy();
    });
    request.on('error', () => upstream.destroy());
    request.pipe(upstream);
  }

  /** Joins the agent's path (below `/v1`) to the provider's base path. */
  #target(url: string): URL {
    const target = new URL(this.#upstream);
    const [path = '', query] = url.split('?', 2);
    target.pathname = `${this.#upstream.pathname.replace(/\/+$/, '')}${path.slice('/v1'.length)}`;
    target.search = query ?? '';
    return target;
  }
}

/** An error in the shape of the Responses API, so that the agent shows its text. */
function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({
    error: { message: `AgentRun proxy: ${message}`, type: 'agentrun_proxy_error', param: null, code },
  });
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}
