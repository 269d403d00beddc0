import { ConnectionError } from '../api-errors.js';
import { noConnection, refusalOf } from '../read-answer.js';
import { type SseFrame, SseReader } from './sse-frames.js';

/** One request for a stream. */
export interface StreamRequest {
  /** Method and path, for messages. */
  readonly route: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof globalThis.fetch;
}

const longestConnectMs = 15_000;
/** A refusal is a small envelope. */
const largestRefusalBytes = 262_144;

/**
 * One connection of a stream. Every wait ends with an answer, with the time limit or with the caller's signal; `close` lets go of everything, at any
 * moment.
 */
export class StreamConnection {
  readonly #request: StreamRequest;
  readonly #silenceMs: number;
  readonly #caller: AbortSignal | undefined;
  readonly #stop = new AbortController();
  readonly #sse = new SseReader();
  readonly #onCallerAbort = (): void =>
    this.#end(new ConnectionError('aborted', `${this.#request.route} was aborted`));
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #openedAt: number | undefined;
  #ended: ConnectionError | undefined;
  #endWait: (error: ConnectionError) => void = () => undefined;

  constructor(request: StreamRequest, silenceMs: number, signal: AbortSignal | undefined) {
    this.#request = request;
    this.#silenceMs = silenceMs;
    this.#caller = signal;
    signal?.addEventListener('abort', this.#onCallerAbort, { once: true });
  }

  /** Milliseconds since the server has let the reader in; 0 before. */
  get ageMs(): number {
    return this.#openedAt === undefined ? 0 : performance.now() - this.#openedAt;
  }

  /** @throws ApiError refused; ConnectionError no connection, no answer in time, no event stream, or aborted. */
  async open(): Promise<void> {
    const { route, url, headers, fetch } = this.#request;
    const limitMs = Math.min(this.#silenceMs, longestConnectMs);
    const late = (): ConnectionError =>
      new ConnectionError('timeout', `${route}: no answer within ${limitMs} ms`);
    const init = { headers, redirect: 'error', cache: 'no-store', signal: this.#stop.signal } as const;
    const response = await this.#within(limitMs, late, () => fetch(url, init));
    this.#reader = response.body?.getReader();
    if (!response.ok) {
      const text = await this.#within(limitMs, late, () => this.#wholeText());
      throw refusalOf({ response, text, route });
    }
    const type = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (type !== 'text/event-stream' || this.#reader === undefined) {
      throw new ConnectionError('invalid-answer', `${route}: the answer is no event stream`);
    }
    this.#openedAt = performance.now();
  }

  /**
   * The next frames, maybe none; undefined at the end of the body.
   *
   * @throws ConnectionError broken, silent for too long, or aborted.
   */
  async next(): Promise<readonly SseFrame[] | undefined> {
    if (this.#reader === undefined) return undefined;
    const reader = this.#reader;
    const { route } = this.#request;
    const silent = (): ConnectionError =>
      new ConnectionError('timeout', `${route}: nothing was heard for ${this.#silenceMs} ms`);
    const { done, value } = await this.#within(this.#silenceMs, silent, () => reader.read());
    if (!done) return this.#sse.push(value);
    this.#reader = undefined;
    const last = this.#sse.end();
    return last.length === 0 ? undefined : last;
  }

  /** @throws ConnectionError it was closed or aborted meanwhile: what has arrived since is not for the reader any more. */
  checkOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  close(): void {
    this.#caller?.removeEventListener('abort', this.#onCallerAbort);
    this.#end(new ConnectionError('aborted', `${this.#request.route} was closed`));
  }

  #end(error: ConnectionError): void {
    this.#ended ??= error;
    this.#endWait(error);
    this.#stop.abort();
    // It has ended, or aborting has ended it: there is nothing to learn from it.
    this.#reader?.cancel().catch(() => undefined);
    this.#reader = undefined;
  }

  async #wholeText(): Promise<string> {
    const decoder = new TextDecoder();
    let text = '';
    while (this.#reader !== undefined && text.length < largestRefusalBytes) {
      const { done, value } = await this.#reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    return text;
  }

  /** Also ends work that ignores its signal. */
  #within<T>(limitMs: number, late: () => ConnectionError, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(late()), limitMs);
      this.#endWait = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      if (this.#caller?.aborted === true) return this.#onCallerAbort();
      work()
        .then(resolve, (error: unknown) => reject(noConnection(this.#request.route, error)))
        .finally(() => clearTimeout(timer));
    });
  }
}
