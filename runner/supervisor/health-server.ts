import { createServer, type Server } from 'node:http';

/** What a supervisor may still lack, or is losing, to be ready for a turn. */
export type Missing = 'launch-file' | 'agent-host' | 'proxy' | 'draining';

/** A listening health server. */
export interface HealthServing {
  readonly port: number;
  /** Cuts what is open. */
  close(): Promise<void>;
}

/**
 * Answers the kubelet's probes, and nothing else (requirements.md A.2.a): `GET /healthz` says that the event loop turns, `GET /readyz` that a turn can be
 * served. It asks nobody for anything and names nothing of the session: whoever is in the pod can ask it, the agent too.
 *
 * @throws Error when the port is taken: an answer would come from whoever has it.
 */
export async function serveHealth(port: number, missing: () => readonly Missing[]): Promise<HealthServing> {
  const server = createServer(
    {
      requestTimeout: 5_000,
      headersTimeout: 2_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 8_192,
    },
    (request, response) => {
      response.setHeader('connection', 'close');
      response.setHeader('content-type', 'application/json');
      if (request.method !== 'GET' || (request.url !== '/healthz' && request.url !== '/readyz')) {
        response.writeHead(404).end('{"status":"not-found"}');
        return;
      }
      const lacking = request.url === '/healthz' ? [] : missing();
      const status = lacking.length === 0 ? 'ok' : 'not-ready';
      response.writeHead(lacking.length === 0 ? 200 : 503).end(JSON.stringify({ status, missing: lacking }));
    },
  );
  // More than the kubelet opens; an agent that opens all of them has only its own pod killed.
  server.maxConnections = 64;
  await listen(server, port);
  const bound = server.address();
  if (bound === null || typeof bound === 'string')
    throw new Error('the health server listens on no TCP port');
  return {
    port: bound.port,
    close: () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}

/** On all addresses: the kubelet asks the pod's own. */
function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
