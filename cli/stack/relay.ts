import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Passes on what comes to an address of this machine. */
export interface Relay {
  /** Ends its connections too. May be called twice. */
  close(): void;
}

/** Listens at `host` and connects each caller with the same port of `target`. @throws Error when the port is taken. */
export async function startRelay(port: number, host: string, target: string): Promise<Relay> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: Socket) => {
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      other.destroy();
    });
    // Either end may go away at any time; 'close' follows.
    socket.on('error', () => undefined);
  };
  const server = createServer((caller) => {
    const called = connect({ port, host: target });
    keep(caller, called);
    keep(called, caller);
    caller.pipe(called);
    called.pipe(caller);
  });
  server.listen({ port, host });
  await once(server, 'listening');
  return {
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
