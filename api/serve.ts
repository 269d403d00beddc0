import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Express } from 'express';
import { answerBrokenRequests } from './broken-requests.js';

/** A listening HTTP server. */
export interface Serving {
  readonly port: number;
  /** Stops accepting, lets what is under way end for at most `graceMs`, then cuts the rest off. Long polls are ended by the caller's signal. */
  close(graceMs: number): Promise<void>;
}

export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  /** Within this time a request must have arrived whole; an answer may take as long as a long poll does. Default: a minute. */
  readonly requestTimeoutMs?: number;
}

/**
 * Listens.
 *
 * @throws Error when the port is taken or the host is no address of this machine.
 */
export async function serve(app: Express, options: ServeOptions): Promise<Serving> {
  const requestTimeoutMs = options.requestTimeoutMs ?? 60_000;
  const server = createServer(
    {
      requestTimeout: requestTimeoutMs,
      headersTimeout: Math.min(20_000, requestTimeoutMs),
      connectionsCheckingInterval: Math.min(5_000, requestTimeoutMs),
      keepAliveTimeout: 65_000,
      // The app answers a request without Host, with a body that says so.
      requireHostHeader: false,
    },
    app,
  );
  answerBrokenRequests(server);
  // An expectation that the server does not know may be ignored (RFC 9110, 10.1.1).
  server.on('checkExpectation', app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.host, port: options.port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return { port: portOf(server), close: (graceMs) => close(server, graceMs) };
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no TCP port');
  return address.port;
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const isClosed = closed.then(() => true);
  const deadline = performance.now() + graceMs;
  // Connections that become idle while others still answer would be kept alive.
  while (performance.now() < deadline) {
    server.closeIdleConnections();
    if (await Promise.race([isClosed, sleep(20, false)])) return;
  }
  server.closeAllConnections();
  await closed;
}
