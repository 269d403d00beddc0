import { randomBytes } from 'node:crypto';
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { AgentRunError } from '../contract/errors.js';
import { errorEnvelope, jsonLine } from './envelope.js';

/**
 * Answers what never becomes a request of the app (a malformed request line, headers that are too long, a body that does not arrive in time) with
 * the failure envelope instead of Node's bare status line, then closes the connection: where the next request begins is not known.
 */
export function answerBrokenRequests(server: Server): void {
  const answers = new WeakMap<Duplex, ServerResponse>();
  server.on('request', (request, response) => answers.set(request.socket, response));
  server.on('clientError', (error: Error, socket: Duplex) => {
    const isAnswering = answers.get(socket)?.headersSent === true && !answers.get(socket)?.writableEnded;
    // The client has gone, or an answer is half written: anything more would be read as a part of it.
    if (!socket.writable || isAnswering || codeOf(error) === 'ECONNRESET') socket.destroy(error);
    else socket.end(rawAnswer(errorOf(error)), () => socket.destroy());
  });
}

function errorOf(error: Error): AgentRunError {
  const code = codeOf(error);
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new AgentRunError('request-timeout', 'the request did not arrive whole in time');
  if (code === 'HPE_HEADER_OVERFLOW')
    return new AgentRunError('headers-too-large', 'the request line and the headers are longer than 16 KiB');
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW')
    return new AgentRunError('payload-too-large', 'the extensions of a chunk are too long');
  return new AgentRunError('schema-invalid', 'the request is no HTTP/1.1 that this server reads');
}

const codeOf = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : 'unknown';

function rawAnswer(error: AgentRunError): string {
  const traceId = randomBytes(16).toString('hex');
  const body = jsonLine(errorEnvelope(error, traceId));
  return [
    `HTTP/1.1 ${error.httpStatus} ${STATUS_CODES[error.httpStatus] ?? ''}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'cache-control: no-store',
    `x-trace-id: ${traceId}`,
    'connection: close',
    '',
    body,
  ].join('\r\n');
}
