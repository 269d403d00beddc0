import { z } from 'zod';
import { backoffMs, errorLine, pause } from '../../../client/index.js';
import { LineSplitter } from '../../line-splitter.js';
import type { DriverLog } from '../driver.js';

/** A completed item carries the whole output of its command, so a line can be long. */
const maxLineBytes = 64 * 1024 * 1024;
/** "Server overloaded; retry later." (agents.md 2.1) */
const overloadedCode = -32_001;
/** JSON-RPC 2.0, "Internal error". */
const internalErrorCode = -32_603;
const overloadRetry = { attempts: 6, baseDelayMs: 200, maxDelayMs: 3_000 } as const;

const idSchema = z.union([z.string(), z.number()]);
const errorSchema = z.looseObject({ code: z.number(), message: z.string(), data: z.unknown().optional() });
const messageSchema = z.union([
  z.looseObject({ id: idSchema, method: z.string(), params: z.unknown().optional() }),
  z.looseObject({ method: z.string(), params: z.unknown().optional() }),
  z.looseObject({ id: idSchema, error: errorSchema }),
  z.looseObject({ id: idSchema, result: z.unknown() }),
]);

/** The other side answered with an error. */
export class JsonRpcError extends Error {
  override readonly name = 'JsonRpcError';
  readonly code: number;
  readonly data: unknown;

  constructor(method: string, error: { code: number; message: string; data?: unknown }) {
    super(`${method}: ${error.message}`);
    this.code = error.code;
    this.data = error.data;
  }
}

/** The connection ended, or no answer came in time. */
export class JsonRpcConnectionError extends Error {
  override readonly name = 'JsonRpcConnectionError';
}

/** The answer to a request of the other side. */
export type ServerRequestAnswer =
  | { readonly result: unknown }
  | { readonly error: { code: number; message: string } };

/** A request of the other side, open until it is answered. */
export interface ServerRequest {
  readonly id: string | number;
  readonly method: string;
  readonly params: unknown;
  /** Sends the answer, now or later. Only the first one is sent. */
  readonly answer: (answer: ServerRequestAnswer) => void;
}

interface Pending {
  readonly method: string;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * JSON-RPC as Codex speaks it: one object per line, without the `jsonrpc` member. Each side numbers its own requests
 * (agents.md 2.1, Starting it): ours wait in a map, those of the other side are answered with their own id, whenever the owner has an answer.
 */
export class JsonRpcConnection {
  readonly #write: (line: string) => void;
  readonly #log: DriverLog;
  readonly #onNotification: (method: string, params: unknown) => void;
  readonly #onRequest: (request: ServerRequest) => void;
  readonly #lines: LineSplitter;
  /** Our requests by our ids. */
  readonly #pending = new Map<string | number, Pending>();
  #nextId = 1;
  #closedBy: { readonly reason: string; readonly cause: Error | undefined } | undefined;

  constructor(options: {
    readonly write: (line: string) => void;
    readonly log: DriverLog;
    readonly onNotification: (method: string, params: unknown) => void;
    /** Must see to it that every request is answered, known or not: one without an answer hangs the turn. */
    readonly onRequest: (request: ServerRequest) => void;
  }) {
    this.#write = options.write;
    this.#log = options.log;
    this.#onNotification = options.onNotification;
    this.#onRequest = options.onRequest;
    this.#lines = new LineSplitter({
      maxLineBytes,
      onLine: (line) => this.#receive(line),
      onOversized: (bytes) => options.log.warn({ bytes }, 'dropped an oversized message of the agent'),
    });
  }

  feed(chunk: Buffer): void {
    this.#lines.feed(chunk);
  }

  /**
   * Sends a request and answers its result, unparsed. An overloaded server is asked again, with growing pauses.
   *
   * @throws JsonRpcError, JsonRpcConnectionError
   */
  async request(method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#requestOnce(method, params, timeoutMs);
      } catch (error) {
        const overloaded = error instanceof JsonRpcError && error.code === overloadedCode;
        if (!overloaded || attempt >= overloadRetry.attempts) throw error;
        const delayMs = backoffMs(overloadRetry, attempt, undefined);
        this.#log.warn(
          { attempt, delayMs, type: error.name, message: error.message },
          'the agent is overloaded',
        );
        await pause(delayMs);
      }
    }
  }

  notify(method: string, params?: unknown): void {
    this.#send(params === undefined ? { method } : { method, params });
  }

  /** Fails everything that waits: the process is gone. `cause`: of the errors that this makes. */
  close(reason: string, cause?: Error): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = { reason, cause };
    for (const [id, pending] of this.#pending) {
      clearTimeout(pending.timer);
      this.#pending.delete(id);
      pending.reject(new JsonRpcConnectionError(`${pending.method}: ${reason}`, { cause }));
    }
  }

  #requestOnce(method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    if (this.#closedBy !== undefined) {
      const { reason, cause } = this.#closedBy;
      return Promise.reject(new JsonRpcConnectionError(`${method}: ${reason}`, { cause }));
    }
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new JsonRpcConnectionError(`${method}: no answer within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#pending.set(id, { method, resolve, reject, timer });
      this.#send({ id, method, params });
    });
  }

  #send(message: Record<string, unknown>): void {
    if (this.#closedBy === undefined) this.#write(`${JSON.stringify(message)}\n`);
  }

  #receive(line: string): void {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      this.#log.warn({ bytes: line.length }, 'the agent wrote a line that is no JSON');
      return;
    }
    const message = messageSchema.safeParse(value).data;
    if (message === undefined) {
      this.#log.warn({ bytes: line.length }, 'the agent sent a message of unknown shape');
    } else if ('method' in message) {
      if ('id' in message && (typeof message.id === 'string' || typeof message.id === 'number')) {
        this.#asked(message.id, String(message.method), message.params);
      } else {
        this.#onNotification(String(message.method), message.params);
      }
    } else {
      this.#settle(message);
    }
  }

  #settle(message: { id: string | number; error?: unknown; result?: unknown }): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) {
      this.#log.warn({ id: message.id }, 'the agent answered a request nobody waits for');
      return;
    }
    clearTimeout(pending.timer);
    this.#pending.delete(message.id);
    const error = errorSchema.safeParse(message.error).data;
    if (error === undefined) pending.resolve(message.result);
    else pending.reject(new JsonRpcError(pending.method, error));
  }

  #asked(id: string | number, method: string, params: unknown): void {
    let answered = false;
    const answer = (given: ServerRequestAnswer): void => {
      if (answered) return;
      answered = true;
      this.#send({ id, ...given });
    };
    try {
      this.#onRequest({ id, method, params, answer });
    } catch (error) {
      this.#log.warn({ method, ...errorLine(error) }, 'a request of the agent could not be handled');
      answer({ error: { code: internalErrorCode, message: `AgentRun failed to handle ${method}` } });
    }
  }
}
