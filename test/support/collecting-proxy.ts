import { createServer, request as httpRequest } from 'node:http';

/** A proxy before the API, as badly behaved as a test wants. */
export interface CollectingProxy {
  readonly url: string;
  /** What becomes of a request: passed on, cut before the API sees it, or cut when the API has answered. Default: passed on. */
  fate: () => 'pass' | 'cut' | 'lose-answer';
  /** Requests that came. */
  readonly requests: () => number;
  close(): Promise<void>;
}

/**
 * Starts a proxy that passes a request on only when its body has ended, and an answer only when it is complete, as some ingresses do: whoever sends in
 * one endless request is not heard through it.
 */
export async function startCollectingProxy(target: string): Promise<CollectingProxy> {
  let requests = 0;
  const server = createServer((incoming, outgoing) => {
    requests += 1;
    const fate = proxy.fate();
    if (fate === 'cut') {
      incoming.socket.destroy();
      return;
    }
    const body: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => body.push(chunk));
    incoming.once('end', () => {
      const { host: _host, 'transfer-encoding': _encoding, ...headers } = incoming.headers;
      const data = Buffer.concat(body);
      const passed = httpRequest(
        new URL(incoming.url ?? '/', target),
        { method: incoming.method, headers: { ...headers, 'content-length': String(data.length) } },
        (answer) => {
          const parts: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => parts.push(chunk));
          answer.once('end', () => {
            if (fate === 'lose-answer') {
              incoming.socket.destroy();
              return;
            }
            const { 'transfer-encoding': _chunked, ...answered } = answer.headers;
            outgoing.writeHead(answer.statusCode ?? 502, answered);
            outgoing.end(Buffer.concat(parts));
          });
        },
      );
      passed.once('error', () => incoming.socket.destroy());
      passed.end(data);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const proxy: CollectingProxy = {
    url: `http://127.0.0.1:${address.port}`,
    fate: () => 'pass',
    requests: () => requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  return proxy;
}
