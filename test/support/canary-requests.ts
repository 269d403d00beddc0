import { routes } from '../../contract/routes/index.js';
import type { LocalStack } from './local-stack.js';

/** An answer to a request that carried secrets where none belongs. `echo`: its path was made of them, which a message may name. */
export interface CanaryAnswer {
  readonly what: string;
  readonly status: number;
  readonly text: string;
  readonly echo: boolean;
}

interface CanaryRequest {
  readonly what: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly echo?: true;
}

const someId: Readonly<Record<string, string>> = {
  runId: 'run_00000000000000000000000000',
  commandId: 'cmd_00000000000000000000000000',
  runnerJobId: 'job_00000000000000000000000000',
  taskId: 'task_00000000000000000000000000',
  requestId: 'req_00000000000000000000000000',
  webhookId: 'whk_00000000000000000000000000',
  deliveryId: 'dlv_00000000000000000000000000',
};

/**
 * Sends every route of the contract the secrets in its headers, its query, its body, its path, and as the token itself. No request is one
 * that could succeed at storing them: a body has a field that no schema knows.
 *
 * @param secrets by name; the first is the API token.
 */
export async function sendEverywhere(
  local: LocalStack,
  secrets: Readonly<Record<string, string>>,
): Promise<CanaryAnswer[]> {
  const requests = Object.values(routes).flatMap((route) => [
    ...canaryRequests(route.method.toUpperCase(), route.path, Object.values(secrets)),
    ...Object.entries(secrets).map(([name, secret]) => ({
      what: `${route.method} ${route.path} with the ${name} as token`,
      method: route.method.toUpperCase(),
      path: withIds(route.path),
      headers: { authorization: `Bearer ${secret.replace(/[^\x21-\x7e]/g, '')}` },
    })),
  ]);
  const answers: CanaryAnswer[] = [];
  for (let at = 0; at < requests.length; at += 8) {
    answers.push(...(await Promise.all(requests.slice(at, at + 8).map((request) => send(local, request)))));
  }
  return answers;
}

function canaryRequests(method: string, path: string, secrets: readonly string[]): CanaryRequest[] {
  const query = new URLSearchParams(
    ['token', 'access_token', 'cursor', 'limit', 'afterSeq', 'status', 'labels', 'state', 'waitMs'].map(
      (name, index): [string, string] => [name, secrets[index % secrets.length] ?? ''],
    ),
  );
  const field = (value: unknown) =>
    [
      'tenantId',
      'sessionId',
      'workspace',
      'executionPolicy',
      'runnerId',
      'terminalStatus',
      'type',
      'labels',
    ].map((name) => [name, value]);
  const requests: CanaryRequest[] = [
    {
      what: `${method} ${path} with secrets in headers`,
      method,
      path: withIds(path),
      headers: Object.fromEntries([
        ...secrets.map((secret, index) => [`x-canary-${index}`, secret]),
        ['idempotency-key', secrets.join(' ').slice(0, 400)],
        ['traceparent', secrets[0] ?? ''],
        ['accept', secrets[1] ?? ''],
        ['cookie', `session=${secrets[2] ?? ''}`],
      ]),
    },
    {
      what: `${method} ${path} with secrets in the query`,
      method,
      path: `${withIds(path)}?${query.toString()}`,
    },
  ];
  if (path.includes(':')) {
    // Where any word is an id, a word is what the audit log names; only a secret that the API knows can be told from it.
    const asId = path.includes(':sessionId') ? secrets.slice(0, 1) : secrets;
    for (const secret of asId) {
      requests.push({
        what: `${method} ${path} with a secret in the path`,
        method,
        path: path.replace(/:\w+/g, encodeURIComponent(secret)),
        echo: true,
      });
    }
  }
  if (method === 'GET') return requests;
  const wrong = { canaryField: secrets, ...Object.fromEntries(field({ canaryField: secrets })) };
  const headers = { 'content-type': 'application/json' };
  return [
    ...requests,
    {
      what: `${method} ${path}, a wrong body`,
      method,
      path: withIds(path),
      headers,
      body: JSON.stringify(wrong),
    },
    {
      what: `${method} ${path}, broken JSON`,
      method,
      path: withIds(path),
      headers,
      body: `{"workspace": ${JSON.stringify(secrets)}, "a": ${secrets.join('')}`,
    },
    {
      what: `${method} ${path}, another media type`,
      method,
      path: withIds(path),
      headers: { 'content-type': `text/${secrets[0]?.replace(/\W/g, '') ?? ''}` },
      body: secrets.join('\n'),
    },
  ];
}

function withIds(path: string): string {
  return path.replace(/:(\w+)/g, (_match, name: string) => someId[name] ?? 'unknown');
}

async function send(local: LocalStack, request: CanaryRequest): Promise<CanaryAnswer> {
  const { what, method, path, headers, body, echo } = request;
  const response = await fetch(`${local.stack.apiUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${local.token}`, ...headers },
    ...(body === undefined ? {} : { body }),
    signal: AbortSignal.timeout(40_000),
  });
  const sent = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
  const text = `${sent}\n${await textOf(response)}`;
  return { what, status: response.status, text, echo: echo === true };
}

/** Of a stream, which goes on, what was stored when it began. */
async function textOf(response: Response): Promise<string> {
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  if (!isStream || response.body === null) return response.text();
  let text = '';
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes('event: caught-up\n') || text.includes('event: stream-end\n')) break;
  }
  return text;
}
