import { createServer, type Server } from 'node:http';
import type { Registry } from 'prom-client';
import type { MetricsAddress } from '../config/metrics-settings.js';
import type { Logger } from './logger.js';

/** A listening server of metrics. */
export interface MetricsServing {
  readonly port: number;
  /** Stops; a scrape that is under way is cut off after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/**
 * Serves `GET /metrics`, on a port of its own: it asks for no token, so it listens on loopback unless it is told otherwise
 * (decisions.md, HTTP "metrics"). Without an address nothing is served.
 *
 * @param isReady given by a program without a server of its own, which a cluster asks here: `GET /healthz` answers 200 as long as the program answers at
 * all, `GET /readyz` 200 or 503. Both without I/O and without a body.
 *
 * @throws Error when the port is taken or the host is no address of this machine.
 */
export async function serveMetrics(
  registry: Registry,
  address: MetricsAddress,
  logger: Logger,
  isReady?: () => boolean,
): Promise<MetricsServing | undefined> {
  if (address === undefined) return undefined;
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 65_000 },
    (request, response) => {
      const path = request.method === 'GET' ? request.url?.split('?')[0] : undefined;
      if (path !== '/metrics') {
        response.writeHead(isReady === undefined ? 404 : healthStatus(path, isReady)).end();
        return;
      }
      registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server listens on no TCP port');
  logger.info({ host: address.host, port: bound.port }, 'metrics are served');
  return { port: bound.port, close: (graceMs) => close(server, graceMs) };
}

function healthStatus(path: string | undefined, isReady: () => boolean): number {
  if (path === '/healthz') return 200;
  if (path === '/readyz') return isReady() ? 200 : 503;
  return 404;
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(cut);
}
