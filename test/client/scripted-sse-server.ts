import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import { afterAll } from 'vitest';
import { serverPort } from '../support/server-port.js';

/** One request that has reached the server, and what may be done with it. */
export class Visit {
  readonly number: number;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly at = performance.now();
  readonly #response: ServerResponse;
  /** Resolves when the connection is gone, whoever closed it. */
  readonly gone: Promise<unknown>;

  constructor(number: number, url: string, headers: IncomingHttpHeaders, response: ServerResponse) {
    this.number = number;
    this.url = url;
    this.headers = headers;
    this.#response = response;
    this.gone = once(response, 'close');
  }

  /** The bytes of a stream; the first sends the head of the answer. */
  raw(bytes: string | Uint8Array): this {
    if (!this.#response.headersSent) {
      this.#response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    }
    this.#response.write(bytes);
    return this;
  }

  accept(): this {
    return this.raw(':\n\n');
  }

  event(seq: number, fields: Record<string, unknown> = {}): this {
    return this.raw(`id: ${seq}\ndata: ${JSON.stringify({ ...eventOf(seq), ...fields })}\n\n`);
  }

  frame(name: string, data: unknown): this {
    return this.raw(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  caughtUp(seq: number): this {
    return this.frame('caught-up', { seq });
  }

  streamEnd(lastSeq: number, terminalStatus = 'completed'): this {
    return this.frame('stream-end', { status: terminalStatus, terminalStatus, lastSeq }).close();
  }

  /** A clean end of the body. */
  close(): this {
    this.#response.end();
    return this;
  }

  /** The connection breaks, once what was written has left. */
  cut(): this {
    const response = this.#response;
    if (response.headersSent) response.write(':', () => response.destroy());
    else response.destroy();
    return this;
  }

  refuse(status: number, failureKind: string, headers: Record<string, string> = {}): this {
    const failure = { ok: false, failureKind, message: `refused: ${failureKind}`, traceId: 't' };
    this.answer(status, 'application/json', JSON.stringify(failure), headers);
    return this;
  }

  answer(status: number, contentType: string, body: string, headers: Record<string, string> = {}): void {
    this.#response.writeHead(status, { 'content-type': contentType, ...headers }).end(body);
  }
}

export const eventOf = (seq: number) => ({
  seq,
  eventId: `evt_${seq}`,
  runId: 'run_1',
  attempt: 1,
  epoch: 1,
  type: 'agent_message',
  at: '2026-01-01T00:00:00.000Z',
  payload: { itemId: `item-${seq}`, text: `text ${seq}` },
});

/** Fields of an event that ends a run. */
export const terminalEvent = {
  type: 'terminal_status',
  payload: { terminalStatus: 'completed', failureKind: null, message: null },
};

export interface ScriptedSseServer {
  readonly url: string;
  /** Every request so far. */
  readonly visits: readonly Visit[];
}

const servers: Server[] = [];
afterAll(async () => {
  for (const server of servers) {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
});

/** A server whose nth request is played by the nth scene; the last scene is played again and again. Ends with the test file. */
export async function scriptedSseServer(
  ...scenes: ((visit: Visit) => unknown)[]
): Promise<ScriptedSseServer> {
  const visits: Visit[] = [];
  const server = createServer((request, response) => {
    const visit = new Visit(visits.length, request.url ?? '', request.headers, response);
    visits.push(visit);
    (scenes[visit.number] ?? scenes.at(-1))?.(visit);
  });
  const port = await serverPort(server);
  servers.push(server);
  return { url: `http://127.0.0.1:${port}`, visits };
}
