import { type IncomingMessage, request as plainRequest } from 'node:http';
import { type RequestOptions, request as secureRequest } from 'node:https';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { KubeConfig } from '@kubernetes/client-node';

/** The API server answered with another status than 200. */
export class RefusedRequest extends Error {
  override readonly name = 'RefusedRequest';
  readonly status: number;

  constructor(path: string, status: number) {
    super(`the API server answered ${path} with ${status}`);
    this.status = status;
  }
}

type Query = Readonly<Record<string, string | undefined>>;

/**
 * A GET whose JSON answer is taken as it is: the generated clients build an object of a class for each field, which a list of thousands of pods is not
 * worth. `signal` bounds it.
 *
 * @throws RefusedRequest; Error when there is no answer.
 */
export async function getJson(
  config: KubeConfig,
  path: string,
  query: Query,
  signal: AbortSignal,
): Promise<unknown> {
  return JSON.parse(await text(await open(config, path, query, signal)));
}

/**
 * The lines of a watch until the server ends it or `signal` aborts; each is JSON.
 *
 * @throws RefusedRequest; Error when the connection breaks or `signal` aborts.
 */
export async function* watchLines(
  config: KubeConfig,
  path: string,
  query: Query,
  signal: AbortSignal,
): AsyncGenerator<unknown> {
  const response = await open(config, path, { ...query, watch: 'true' }, signal);
  // An interface of readline swallows the error of its input.
  let broken: Error | undefined;
  response.on('error', (error) => {
    broken = error;
  });
  const lines = createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    for await (const line of lines) if (line !== '') yield JSON.parse(line);
    if (broken !== undefined) throw broken;
  } finally {
    lines.close();
    response.destroy();
  }
}

async function open(
  config: KubeConfig,
  path: string,
  query: Query,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new Error('the kubeconfig names no cluster');
  const url = new URL(server.replace(/\/+$/, '') + path);
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) url.searchParams.set(name, value);
  const options: RequestOptions = { headers: { accept: 'application/json' } };
  await config.applyToHTTPSOptions(options);
  const send = url.protocol === 'http:' ? plainRequest : secureRequest;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    send(url, { ...options, method: 'GET', signal }, resolve)
      .once('error', reject)
      .end();
  });
  if (response.statusCode === 200) return response;
  response.destroy();
  throw new RefusedRequest(path, response.statusCode ?? 0);
}
