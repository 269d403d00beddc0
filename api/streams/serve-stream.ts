import type { Response } from 'express';
import type { ApiDeps } from '../deps.js';
import { StreamCaps } from './stream-caps.js';
import { type ServedStream, StreamConnection } from './stream-connection.js';
import type { StreamAnswer, StreamSource } from './stream-source.js';

/** The headers of a stream (decisions.md, "Stream frames"). Nobody may keep, change or hold back what follows them. */
function writeStreamHead(response: Response): void {
  response.status(200);
  response.setHeader('content-type', 'text/event-stream; charset=utf-8');
  response.setHeader('cache-control', 'no-cache, no-transform');
  response.setHeader('x-accel-buffering', 'no');
  // Whoever is told to come back must not come back to this process only because the connection is still there.
  response.setHeader('connection', 'close');
  response.flushHeaders();
}

/** Serves the streams of one process, within its caps. */
export class StreamServer {
  readonly #deps: ApiDeps;
  readonly #caps: StreamCaps;

  constructor(deps: ApiDeps) {
    this.#deps = deps;
    this.#caps = new StreamCaps(deps.streamLimits);
  }

  /**
   * Serves a stream until it ends, its client leaves, or it is rotated: frames as the socket takes them, keepalives, and with each of those another look
   * at the token. Resolves when the answer is over.
   *
   * @throws AgentRunError `unavailable`, `rate-limited`, and as {@link StreamAnswer.open}, before anything is written; never afterwards.
   */
  async serve(stream: ServedStream, answer: StreamAnswer): Promise<void> {
    const { request, response, caller } = stream;
    if (request.method === 'HEAD') {
      (await answer.open()).close();
      writeStreamHead(response);
      response.end();
      return;
    }
    const release = this.#caps.open(caller, answer.cappedBy);
    try {
      const source = await answer.open();
      writeStreamHead(response);
      await serveStream(this.#deps, stream, source);
    } finally {
      release();
    }
  }
}

async function serveStream(deps: ApiDeps, stream: ServedStream, source: StreamSource): Promise<void> {
  const connection = new StreamConnection(deps, stream);
  const closed = deps.metrics.streams.opened(stream.operationId);
  try {
    while (!connection.signal.aborted) {
      const step = await source.next(connection.signal);
      if (step.bytes.length > 0) await connection.write(step.bytes);
      if (step.ended) connection.ended();
    }
  } catch (thrown) {
    connection.fail(thrown);
  } finally {
    source.close();
    await connection.close();
    closed(connection.end);
  }
}
