import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Holds } from './holds.js';
import type { RequestLog } from './request-log.js';
import type { ScenarioLibrary } from './scenario-library.js';

const maxBodyBytes = 64 * 1024 * 1024;
const holdRoute = /^POST \/__scripted\/holds\/([^/]+)\/(release|arm)$/;

export interface Controlled {
  readonly library: ScenarioLibrary;
  readonly holds: Holds;
  readonly log: RequestLog;
}

/**
 * The routes that tests and people use, apart from the provider's API. They need no key.
 *
 * - `GET /__scripted`: what this is, and the names of the scenarios.
 * - `GET /__scripted/requests[?thread=KEY][&contains=TEXT][&last=N][&bodies=0]`: the recorded requests, or those of a thread, those whose body holds a
 *   text, the last N of them.
 * - `GET /__scripted/holds`; `POST /__scripted/holds/NAME/release`; `POST /__scripted/holds/NAME/arm`.
 *
 * @returns false when the request is none of these.
 */
export function answerControlRequest(
  context: Controlled,
  route: string,
  url: URL,
  response: ServerResponse,
): boolean {
  const hold = holdRoute.exec(route);
  if (hold?.[1] && hold[2] === 'release') {
    const name = decodeURIComponent(hold[1]);
    sendJson(response, 200, { name, released: context.holds.release(name) });
  } else if (hold?.[1]) {
    const name = decodeURIComponent(hold[1]);
    context.holds.arm(name);
    sendJson(response, 200, { name });
  } else if (route === 'GET /__scripted/holds') {
    sendJson(response, 200, { holds: context.holds.list() });
  } else if (route === 'GET /__scripted/requests') {
    sendJson(response, 200, { requests: recorded(context.log, url.searchParams) });
  } else if (route === 'GET /__scripted') {
    const what =
      'AgentRun scripted model server: a stand-in for a model provider, there is no model behind it';
    sendJson(response, 200, { what, scenarios: context.library.names() });
  } else {
    return false;
  }
  return true;
}

/** Reads a JSON body. A body that is not JSON comes back as its text, for the request log. @throws when too large. */
export async function readBody(request: IncomingMessage): Promise<{ bytes: number; body: unknown }> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    const buffer = z.instanceof(Buffer).parse(chunk);
    bytes += buffer.length;
    if (bytes > maxBodyBytes) throw new Error(`the request is larger than ${maxBodyBytes} bytes`);
    chunks.push(buffer);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    return { bytes, body: JSON.parse(text) };
  } catch {
    return { bytes, body: text };
  }
}

/** Answers with an error body as OpenAI writes it. */
export function sendError(
  response: ServerResponse,
  status: number,
  type: string,
  code: string | null,
  message: string,
): void {
  sendJson(response, status, { error: { message, type, param: null, code } });
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

function recorded(log: RequestLog, query: URLSearchParams): unknown[] {
  const thread = query.get('thread');
  const text = query.get('contains');
  const found = log
    .all()
    .filter((request) => thread === null || request.threadKey === thread)
    .filter((request) => text === null || JSON.stringify(request.body).includes(text));
  const last = Number(query.get('last') ?? found.length);
  const requests = found.slice(Math.max(found.length - last, 0));
  if (query.get('bodies') !== '0') return requests;
  return requests.map(({ body: _body, headers: _headers, ...rest }) => rest);
}
