import {
  type Agent,
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { downstreamHeaders, resetTimeMs, upstreamHeaders } from './proxied-headers.js';
import type { ProxyObservation } from './proxy-observation.js';
import { refuse } from './refusal.js';
import { ResponseObserver } from './response-observer.js';
import { Stall } from './stall.js';

const maxRequestBytes = 64 * 1024 * 1024;

export interface ProxyTimings {
  /** From the socket to the handshake's end. */
  readonly connectMs: number;
  /** From the request's last byte to the answer's head. */
  readonly headersMs: number;
  /** The same for a compaction by the provider, which answers its whole result at once. */
  readonly compactionMs: number;
  /** Between two pieces of an answer: slightly more than the agent's own limit of 90 s, which speaks first. */
  readonly silenceMs: number;
  /** For the agent to send the next piece of its request, or to take the next piece of an answer. */
  readonly clientMs: number;
}
export const proxyTimings: ProxyTimings = {
  connectMs: 10_000,
  headersMs: 90_000,
  compactionMs: 300_000,
  silenceMs: 100_000,
  clientMs: 100_000,
};

export interface ProxiedExchangeOptions {
  readonly target: URL;
  readonly path: string;
  readonly key: string;
  readonly agent: Agent;
  readonly timings: ProxyTimings;
  /** Once, before the agent can see the end of the answer. */
  readonly onObservation: (observation: ProxyObservation) => void;
  /** Bytes of an answer passed; not those of an error. */
  readonly onProgress: () => void;
  readonly log: { warn(fields: Record<string, unknown>, message: string): void };
}

/**
 * One request of the agent on its way to the provider and back. Bytes pass unchanged; usage and errors are read as they pass. Every wait is bounded: a
 * provider or an agent that goes silent ends the exchange, one that keeps sending never does. Bodies are never logged: a provider's error repeats keys.
 */
export class ProxiedExchange {
  readonly #options: ProxiedExchangeOptions;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #upstream: ClientRequest;
  readonly #startedAt = performance.now();
  #observer = new ResponseObserver(undefined);
  #status: number | null = null;
  #resetAtMs: number | null = null;
  #reported = false;
  /** Runs while the provider is to say something. */
  readonly #provider = new Stall(() => this.#providerStalled());
  /** Runs while the agent is to say or take something. */
  readonly #client = new Stall(() => this.abort());

  /** Begins to forward. `body` is the request's body when it was read already. */
  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    body: Buffer | null,
    options: ProxiedExchangeOptions,
  ) {
    this.#options = options;
    this.#request = request;
    this.#response = response;
    const send = options.target.protocol === 'https:' ? httpsRequest : httpRequest;
    this.#upstream = send(options.target, {
      method: request.method,
      headers: upstreamHeaders(request.headers, options.key),
      agent: options.agent,
    });
    this.#connect();
    this.#upstream.on('error', (error: Error) => this.#upstreamFailed(error));
    this.#upstream.on('response', (answer) => this.#answered(answer));
    response.on('close', () => {
      this.#provider.stop();
      this.#client.stop();
      if (response.writableFinished) return;
      // The agent left, or we cut it because the provider did: either way nobody reads on.
      this.#report('client-left');
      this.#upstream.destroy();
    });
    if (body === null) this.#passRequest();
    else this.#upstream.end(body, () => this.#provider.within(this.#headersMs));
  }

  /** The answer has not been told to its end yet. */
  get unfinished(): boolean {
    return !this.#observer.finished;
  }

  abort(): void {
    this.#report('client-left');
    this.#upstream.destroy();
    this.#response.destroy();
  }

  get #headersMs(): number {
    const { path, timings } = this.#options;
    return path.endsWith('/compact') ? timings.compactionMs : timings.headersMs;
  }

  #connect(): void {
    const { connectMs } = this.#options.timings;
    this.#upstream.on('socket', (socket) => {
      if (!socket.connecting) return;
      const limit = new Stall(() =>
        this.#upstream.destroy(new Error(`no connection within ${connectMs} ms`)),
      );
      limit.within(connectMs);
      const ready = this.#options.target.protocol === 'https:' ? 'secureConnect' : 'connect';
      socket.once(ready, () => limit.stop());
      socket.once('close', () => limit.stop());
    });
  }

  #passRequest(): void {
    const { clientMs } = this.#options.timings;
    let sentBytes = 0;
    this.#client.within(clientMs);
    this.#request.on('data', (chunk: Buffer) => {
      sentBytes += chunk.length;
      this.#client.within(clientMs);
      if (sentBytes <= maxRequestBytes) return;
      this.#upstream.destroy(new Error('the request is too large'));
      this.#request.destroy();
    });
    this.#request.on('end', () => {
      this.#client.stop();
      this.#provider.within(this.#headersMs);
    });
    this.#request.on('error', () => this.#upstream.destroy());
    this.#request.pipe(this.#upstream);
  }

  #answered(answer: IncomingMessage): void {
    const { silenceMs, clientMs } = this.#options.timings;
    const response = this.#response;
    const status = answer.statusCode ?? 502;
    this.#status = status;
    this.#resetAtMs = resetTimeMs(answer.headers, Date.now());
    this.#observer = new ResponseObserver(answer.headers['content-type']);
    this.#provider.within(silenceMs);
    response.writeHead(status, answer.statusMessage, downstreamHeaders(answer.headers));
    response.flushHeaders();
    answer.on('data', (chunk: Buffer) => {
      if (status < 400) this.#options.onProgress();
      this.#observer.feed(chunk);
      // Told before the agent sees it: its turn may end on this very chunk.
      if (this.#observer.finished) this.#report('complete');
      if (response.write(chunk)) {
        this.#provider.within(silenceMs);
        return;
      }
      // Now it is the agent that is waited for.
      answer.pause();
      this.#provider.stop();
      this.#client.within(clientMs);
    });
    response.on('drain', () => {
      this.#client.stop();
      this.#provider.within(silenceMs);
      answer.resume();
    });
    answer.on('end', () => {
      this.#provider.stop();
      this.#observer.end(status);
      this.#report('complete');
      response.end();
    });
    const lost = (error?: Error): void => {
      if (answer.complete) return;
      this.#report('upstream-lost', error?.message);
      response.destroy();
    };
    answer.on('error', lost);
    answer.on('close', () => lost());
  }

  /** No head in time: 504, which the agent tries again. No more of a body: a broken stream. */
  #providerStalled(): void {
    const { path, log } = this.#options;
    this.#report('upstream-silent', 'the provider was silent for too long');
    log.warn({ path, status: this.#status }, 'the provider was silent for too long');
    if (this.#response.headersSent) this.#response.destroy();
    else refuse(this.#response, 504, 'agentrun_upstream_silent', 'the provider was silent for too long');
    this.#upstream.destroy();
  }

  #upstreamFailed(error: Error): void {
    const response = this.#response;
    if (response.headersSent || response.destroyed) {
      this.#report(response.destroyed ? 'client-left' : 'upstream-lost', error.message);
      response.destroy();
      return;
    }
    this.#report('unreachable', error.message);
    const { path, log } = this.#options;
    log.warn({ type: error.name, message: error.message, path }, 'the provider cannot be reached');
    refuse(response, 502, 'agentrun_upstream_unreachable', 'the provider cannot be reached');
  }

  #report(ended: ProxyObservation['ended'], errorMessage?: string): void {
    if (this.#reported) return;
    this.#reported = true;
    const observer = this.#observer;
    this.#options.onObservation({
      path: this.#options.path,
      status: this.#status,
      model: observer.model,
      usage: observer.usage,
      errorCode: observer.errorCode,
      errorMessage: errorMessage ?? observer.errorMessage,
      resetAtMs: observer.resetAtMs ?? this.#resetAtMs,
      ended,
      durationMs: Math.round(performance.now() - this.#startedAt),
    });
  }
}
