import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { serverPort } from './server-port.js';

/** A message that has arrived. */
export interface Received {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A receiver of webhooks on loopback. */
export interface WebhookReceiver {
  readonly url: string;
  /** As a setting names it. */
  readonly host: string;
  readonly received: Received[];
  /** Statuses of the next answers; afterwards 200. `hang`: no answer at all. */
  readonly answers: (number | 'hang')[];
  stop(): Promise<void>;
}

export async function startWebhookReceiver(
  options: { headers?: Readonly<Record<string, string>>; body?: string } = {},
): Promise<WebhookReceiver> {
  const received: Received[] = [];
  const answers: (number | 'hang')[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ headers: plain(request.headers), body: Buffer.concat(chunks).toString('utf8') });
      const answer = answers.shift() ?? 200;
      if (answer !== 'hang') response.writeHead(answer, options.headers).end(options.body);
    });
  });
  const port = await serverPort(server);
  return {
    url: `http://127.0.0.1:${port}/hook`,
    host: `127.0.0.1:${port}`,
    received,
    answers,
    stop: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const plain = (headers: IncomingHttpHeaders): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
