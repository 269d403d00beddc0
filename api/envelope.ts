import type { Response } from 'express';
import type { ErrorEnvelope } from '../contract/envelope.js';
import type { AgentRunError } from '../contract/errors.js';

/** Writes an answer: one line of JSON that no cache keeps (contract.md 1.3). */
function writeJson(response: Response, status: number, body: unknown): void {
  const text = `${JSON.stringify(body)}\n`;
  response.status(status);
  response.setHeader('content-type', 'application/json; charset=utf-8');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.setHeader('cache-control', 'no-store');
  response.end(text);
}

/** The success envelope. The status is 200 but for a readiness that is not given. */
export function writeData(response: Response, status: number, data: unknown, traceId: string): void {
  writeJson(response, status, { ok: true, data, traceId });
}

/** The failure envelope, with the headers that go with its status. */
export function writeError(response: Response, error: AgentRunError, traceId: string): void {
  if (response.headersSent || response.writableEnded) {
    response.destroy();
    return;
  }
  const { failureKind, message, details } = error;
  const body: ErrorEnvelope = {
    ok: false,
    failureKind,
    message,
    traceId,
    error: { failureKind, message, ...(details === undefined ? {} : { details }) },
  };
  if (error.retryAfterSeconds !== undefined)
    response.setHeader('retry-after', String(error.retryAfterSeconds));
  if (error.httpStatus === 401) response.setHeader('www-authenticate', 'Bearer realm="agentrun"');
  // What was not read of the body would otherwise be taken for the next request.
  if (!response.req.complete) response.setHeader('connection', 'close');
  writeJson(response, error.httpStatus, body);
}
