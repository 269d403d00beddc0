import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { serverPort } from './server-port.js';

/** A reverse proxy of a few lines. */
export interface Gateway {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Passes requests on as they are; a `strip` of `/agentrun` is taken once from the front of their path, as Traefik's StripPrefix does. Paths without it
 * pass too: a cluster reaches the API past its ingress as well.
 */
export async function startGateway(upstream: string, strip: string | null): Promise<Gateway> {
  const { hostname, port } = new URL(upstream);
  const forward = (incoming: IncomingMessage, answer: ServerResponse) => {
    const target = incoming.url ?? '/';
    const cut =
      strip !== null && (target === strip || target.startsWith(`${strip}/`))
        ? target.slice(strip.length)
        : target;
    const outgoing = request(
      {
        hostname,
        port,
        method: incoming.method,
        path: cut.startsWith('/') ? cut : `/${cut}`,
        headers: incoming.headers,
      },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      },
    );
    outgoing.once('error', () => answer.destroy());
    incoming.pipe(outgoing);
  };
  const server = createServer(forward);
  const gatewayPort = await serverPort(server);
  return {
    url: `http://127.0.0.1:${gatewayPort}`,
    stop: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
