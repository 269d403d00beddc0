import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/** An answer as it came over the wire. */
export interface RawAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

const longestMs = 10_000;

/**
 * Sends bytes that no HTTP client would send, and reads until the server closes the connection. With several pieces, `pauseMs` passes between them.
 *
 * @throws Error when the server does not close the connection, or closes it without an answer.
 */
export async function sendRaw(
  url: string,
  pieces: readonly (string | Uint8Array)[],
  pauseMs = 0,
): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  // The server may close while pieces are still sent.
  socket.on('error', () => undefined);
  const limit = setTimeout(() => socket.destroy(new Error('the server keeps the connection')), longestMs);
  try {
    const received = text(socket);
    received.catch(() => undefined);
    for (const piece of pieces) {
      if (socket.destroyed || socket.readableEnded) break;
      socket.write(piece);
      if (pauseMs > 0) await sleep(pauseMs);
    }
    return parseAnswer(await received);
  } finally {
    clearTimeout(limit);
    socket.destroy();
  }
}

function parseAnswer(raw: string): RawAnswer {
  const split = raw.indexOf('\r\n\r\n');
  const [statusLine = '', ...lines] = raw.slice(0, split).split('\r\n');
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1];
  if (split === -1 || status === undefined)
    throw new Error(`no HTTP answer: ${JSON.stringify(raw.slice(0, 200))}`);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(status), headers: new Map(headers), body: raw.slice(split + 4) };
}
