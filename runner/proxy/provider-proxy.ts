import { randomBytes } from 'node:crypto';
import {
  createServer,
  Agent as HttpAgent,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import { z } from 'zod';
import { isSameSecret } from '../../infra/config/same-secret.js';
import { ProxiedExchange, type ProxyTimings, proxyTimings } from './proxied-exchange.js';
import type { ProxyObservation } from './proxy-observation.js';
import { refuse } from './refusal.js';
import { Stall } from './stall.js';

const modelsPath = '/v1/models';

/** What an agent may ask of the provider (agents.md, architecture.md 7). */
const allowed: ReadonlySet<string> = new Set([
  'POST /v1/responses',
  'POST /v1/responses/compact',
  `GET ${modelsPath}`,
]);
/** Of a request whose model is looked at, this much is held in memory. */
const maxInspectedBytes = 64 * 1024 * 1024;
/**
 * The agent tries again what had no answer, request and stream each (codex-config.ts): nine times the limit in all. After so many silences in a row
 * within a turn it is answered at once, so that a dead provider ends the turn in about two limits.
 */
const maxSilences = 2;
const modelSchema = z.looseObject({ model: z.string() });

export interface ProviderProxyOptions {
  /** The provider's base address, with its own `/v1` or whatever it has. */
  readonly upstreamBaseUrl: string;
  /** The provider's key. */
  readonly key: string;
  /** Models that may be asked for; any when it is left out. */
  readonly allowedModels?: readonly string[];
  readonly timings?: ProxyTimings;
  /** Called once per request to a model, before the agent can see the end of the answer. A look at the list of models is none. */
  readonly onObservation: (observation: ProxyObservation) => void;
  /** Bytes of a model's answer passed: it is at work. An error body and the list of models are no work. */
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
  readonly #active = new Set<ProxiedExchange>();
  #turnOpen = false;
  #lastObservation: ProxyObservation | null = null;
  /** Requests of this turn, one after another, to which the provider said nothing. */
  #silences = 0;
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

  /** The last request to a model within the open turn; null before the first one has ended. */
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
    this.#silences = 0;
  }

  /** From now on 403; requests whose answer has not been told to its end are cut. */
  closeTurn(): void {
    this.#turnOpen = false;
    for (const exchange of this.#active) if (exchange.unfinished) exchange.abort();
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
    if (request.method === 'POST' && this.#options.allowedModels !== undefined)
      this.#forwardAllowedModel(request, response, path);
    else this.#forward(request, response, path, null);
  }

  #isAuthorized(request: IncomingMessage): boolean {
    return isSameSecret(request.headers.authorization ?? '', `Bearer ${this.placeholderKey}`);
  }

  #forward(request: IncomingMessage, response: ServerResponse, path: string, body: Buffer | null): void {
    if (path !== modelsPath && this.#silences >= maxSilences) {
      const message = `the provider was silent ${maxSilences} times in a row`;
      this.#observed(path, refusedObservation(path, 'upstream-silent', null, message));
      request.resume();
      refuse(response, 504, 'agentrun_upstream_silent', message);
      return;
    }
    const exchange = new ProxiedExchange(request, response, body, {
      target: this.#target(request.url ?? ''),
      path,
      key: this.#options.key,
      agent: this.#agent,
      timings: this.#options.timings ?? proxyTimings,
      onObservation: (observation) => this.#observed(path, observation),
      onProgress: () => {
        if (path === modelsPath) return;
        this.#silences = 0;
        this.#options.onProgress();
      },
      log: this.#options.log,
    });
    this.#active.add(exchange);
    response.on('close', () => this.#active.delete(exchange));
  }

  /** Reads the body for its model before anything of it goes out. */
  #forwardAllowedModel(request: IncomingMessage, response: ServerResponse, path: string): void {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const stalled = new Stall(() => request.destroy());
    const { clientMs } = this.#options.timings ?? proxyTimings;
    stalled.within(clientMs);
    request.on('close', () => stalled.stop());
    request.on('data', (chunk: Buffer) => {
      stalled.within(clientMs);
      bytes += chunk.length;
      if (bytes > maxInspectedBytes) request.destroy();
      else chunks.push(chunk);
    });
    request.on('end', () => {
      stalled.stop();
      const body = Buffer.concat(chunks);
      const model = requestedModel(body);
      if (model !== null && this.#options.allowedModels?.includes(model) === true && this.#turnOpen) {
        this.#forward(request, response, path, body);
        return;
      }
      const name = model === null ? 'no model that can be read' : `the model ${model.slice(0, 200)}`;
      const message = `${name} is not allowed in this run`;
      this.#observed(path, refusedObservation(path, 'refused-by-proxy', 'model_not_found', message));
      // The provider's own words for a model that is not there: the agent does not try again.
      refuse(response, 404, 'model_not_found', message);
    });
  }

  #observed(path: string, observation: ProxyObservation): void {
    // A look at the list of models says nothing about how a turn ended, and costs nothing.
    if (path === modelsPath) return;
    if (observation.ended === 'upstream-silent') this.#silences += 1;
    this.#lastObservation = observation;
    this.#options.onObservation(observation);
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

/** The model that a request names; null for a body that is no such JSON, or that is encoded. */
function requestedModel(body: Buffer): string | null {
  try {
    return modelSchema.safeParse(JSON.parse(body.toString('utf8'))).data?.model ?? null;
  } catch {
    return null;
  }
}

/** What is told of a request that the proxy answered itself. */
function refusedObservation(
  path: string,
  ended: ProxyObservation['ended'],
  errorCode: string | null,
  errorMessage: string,
): ProxyObservation {
  return {
    path,
    status: null,
    model: null,
    usage: null,
    errorCode,
    errorMessage,
    resetAtMs: null,
    ended,
    durationMs: 0,
  };
}
