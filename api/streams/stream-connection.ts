import type { Request, Response } from 'express';
import { AgentRunError } from '../../contract/errors.js';
import type { RouteContract } from '../../contract/route-contract.js';
import type { OperationId } from '../../contract/routes/index.js';
import { type Caller, requireAllowed } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { toAgentRunError } from '../errors.js';
import { callerKey } from '../rate-limit.js';
import type { StreamEnd } from './stream-metrics.js';
import { frame, rotated, type StreamLimits } from './stream-source.js';

/** What is left of an answer when its stream is over must be gone within this time, in milliseconds; shorter than the drain of a process that stops. */
const closeMs = 2_000;
/** So much is handed to the socket at once of a step that is larger: a socket says nothing of what it has taken of a piece before it has all of it. */
const sliceBytes = 64 * 1_024;
const keepalive = frame({ name: 'keepalive' }, {});

/** One request for a stream, admitted. */
export interface ServedStream {
  readonly operationId: OperationId;
  readonly contract: RouteContract;
  readonly caller: Caller;
  readonly request: Request;
  readonly response: Response;
}

/** The sending side of one stream: what waits in its socket, its keepalives, its token, its age. */
export class StreamConnection {
  readonly #deps: ApiDeps;
  readonly #limits: StreamLimits;
  readonly #stream: ServedStream;
  readonly #response: Response;
  readonly #ending = new AbortController();
  readonly #timers: NodeJS.Timeout[];
  #end: StreamEnd = 'end';
  #lastFrame = '';
  #isChecking = false;
  /** Part of a step has been written: nothing else may be written now. */
  #isMidway = false;

  constructor(deps: ApiDeps, stream: ServedStream) {
    this.#deps = deps;
    this.#limits = deps.streamLimits;
    this.#stream = stream;
    this.#response = stream.response;
    const { keepaliveMs, maxAgeMs } = this.#limits;
    this.#timers = [
      setInterval(() => void this.#beat(), keepaliveMs),
      setTimeout(() => this.#rotate('age'), maxAgeMs * (1 - Math.random() / 10)),
    ];
    deps.stopping.addEventListener('abort', this.#stop, { once: true });
    this.#response.once('close', () => this.#finish('gone', ''));
    if (deps.stopping.aborted) this.#stop();
    if (this.#response.destroyed) this.#finish('gone', '');
  }

  /** Aborted when nothing more is to be read. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get end(): StreamEnd {
    return this.#end;
  }

  /** Sends whole frames; resolves when less waits in the socket than may. A reader that takes nothing is cut off. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#isMidway = true;
    for (let from = 0; from < bytes.length && !this.#response.destroyed; ) {
      // Whatever ends the stream, its last frame comes behind whole ones.
      const to = this.signal.aborted ? bytes.length : Math.min(from + sliceBytes, bytes.length);
      this.#response.write(bytes.subarray(from, to));
      this.#deps.metrics.streams.sent(this.#stream.operationId, to - from);
      from = to;
      if (from < bytes.length) await this.#taken(() => this.#response.writableNeedDrain);
    }
    this.#isMidway = false;
    await this.#taken(() => this.#isFull());
  }

  /** Until the socket has taken enough; a reader of which it takes nothing for too long is cut off. */
  async #taken(isTooMuch: () => boolean): Promise<void> {
    while (isTooMuch() && !this.signal.aborted) {
      const before = this.#response.writableLength;
      const isDrained = await this.#drained();
      if (!isDrained && !this.signal.aborted && this.#response.writableLength >= before) this.#rotate('slow');
    }
  }

  /** The stream has said its last frame. */
  ended(): void {
    this.#end = 'end';
    this.#lastFrame = '';
    this.#ending.abort();
  }

  /** An error of the stream itself: its reader is told and may come back. One that is over anyway has none. */
  fail(thrown: unknown): void {
    if (this.signal.aborted) return;
    const error = toAgentRunError(thrown);
    this.#deps.logger.error(
      { cause: thrown, operationId: this.#stream.operationId },
      'a stream failed; its connection is closed',
    );
    this.#finish('failed', errorFrame(error));
  }

  /** Says the last frame, if there is one, and closes; what a reader does not take is dropped with the connection. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#deps.stopping.removeEventListener('abort', this.#stop);
    const response = this.#response;
    if (response.destroyed) return;
    const closed = new Promise<void>((resolve) => response.once('close', () => resolve()));
    response.end(this.#lastFrame);
    const late = setTimeout(() => response.destroy(), closeMs);
    await closed;
    clearTimeout(late);
  }

  readonly #stop = () => this.#rotate('shutdown');

  #rotate(reason: 'age' | 'shutdown' | 'slow'): void {
    this.#finish(reason, rotated(reason));
  }

  /** The first reason counts. */
  #finish(end: StreamEnd, lastFrame: string): void {
    if (this.signal.aborted) return;
    this.#end = end;
    this.#lastFrame = lastFrame;
    this.#ending.abort();
  }

  #isFull(): boolean {
    return !this.#response.destroyed && this.#response.writableLength > this.#limits.bufferBytes;
  }

  /** Whether the socket took everything in time; also false when the connection ends meanwhile. */
  async #drained(): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (isDrained: boolean) => {
        clearTimeout(timer);
        this.#response.off('drain', drained);
        this.signal.removeEventListener('abort', over);
        resolve(isDrained);
      };
      const drained = () => end(true);
      const over = () => end(false);
      const timer = setTimeout(over, this.#limits.slowMs);
      this.#response.once('drain', drained);
      this.signal.addEventListener('abort', over, { once: true });
    });
  }

  async #beat(): Promise<void> {
    if (this.signal.aborted || this.#isChecking) return;
    if (!this.#isMidway && !this.#isFull()) this.#response.write(keepalive);
    this.#isChecking = true;
    try {
      const refusal = await this.#refusal();
      if (refusal !== undefined) this.#finish('unauthorized', errorFrame(refusal));
    } finally {
      this.#isChecking = false;
    }
  }

  /** Why the caller may not read on; undefined: it may, or it cannot be said right now. */
  async #refusal(): Promise<AgentRunError | undefined> {
    const { request, caller, contract } = this.#stream;
    try {
      const now = await this.#deps.authenticator.identify(request, request.ip ?? '');
      if (contract.auth !== 'none') requireAllowed(now, contract.auth);
      return callerKey(now) === callerKey(caller) ? undefined : notGoodAnyMore();
    } catch (thrown) {
      if (toAgentRunError(thrown).httpStatus < 500) return notGoodAnyMore();
      this.#deps.logger.warn({ cause: thrown }, 'the token of a stream cannot be checked; it goes on');
      return undefined;
    }
  }
}

const notGoodAnyMore = () =>
  new AgentRunError('unauthorized', 'the token of this stream is not good any more');

const errorFrame = ({ failureKind, message }: AgentRunError) =>
  frame({ name: 'error' }, { failureKind, message });
