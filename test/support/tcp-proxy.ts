import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Says, of all that the server has said on a connection so far, how much of it passes before the connection is cut; undefined: all, for now. */
export type Cut = (said: Buffer) => number | undefined;

/** A TCP proxy on loopback. */
export interface TcpProxy {
  readonly url: string;
  /** Connections that were made so far. */
  readonly connections: number;
  close(): Promise<void>;
}

/** What was passed on has reached its reader, unless the machine is very slow: then the reader asks again. */
const settleMs = 25;

/**
 * Passes each connection on to the port that `target` names for it, undefined for none, and cuts it where `cutOf` says. Close it before the servers behind
 * it.
 */
export async function startTcpProxy(options: {
  readonly target: () => number | undefined;
  /** By the number of the connection, from 0. */
  readonly cutOf?: (connection: number) => Cut | undefined;
}): Promise<TcpProxy> {
  const open = new Set<Socket>();
  let connections = 0;
  const server = createServer((client) => {
    const cut = options.cutOf?.(connections);
    connections += 1;
    const port = options.target();
    if (port === undefined) {
      client.destroy();
      return;
    }
    const upstream = connect(port, '127.0.0.1');
    const both = [client, upstream];
    const end = () => {
      for (const socket of both) {
        socket.destroy();
        open.delete(socket);
      }
    };
    for (const socket of both) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', end);
    }
    client.pipe(upstream);
    if (cut === undefined) upstream.pipe(client);
    else passUntil(cut, upstream, client, end);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy listens on no TCP port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    get connections() {
      return connections;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

function passUntil(cut: Cut, from: Socket, to: Socket, end: () => void): void {
  let said = Buffer.alloc(0);
  let passed = 0;
  from.on('data', (bytes: Buffer) => {
    said = Buffer.concat([said, bytes]);
    const most = cut(said);
    to.write(said.subarray(passed, most));
    if (most === undefined) {
      passed = said.length;
      return;
    }
    from.pause();
    setTimeout(end, settleMs);
  });
}

/** An event as it is on the wire. */
const event = /id: [^\n]*\ndata: [^\n]*\n\n/g;

/** Cuts behind the event number `count`; 0: before the first. */
export function cutAfterEvents(count: number): Cut {
  return (said) => {
    const events = [...said.toString('latin1').matchAll(event)];
    const found = events[Math.max(0, count - 1)];
    if (found === undefined) return undefined;
    return count === 0 ? found.index : found.index + found[0].length;
  };
}

/** Cuts after so many bytes, those of the head of the answer included. */
export function cutAfterBytes(count: number): Cut {
  return (said) => (said.length >= count ? count : undefined);
}
