import type { Response } from 'express';
import type { ErrorEnvelope } from '../contract/envelope.js';
import type { AgentRunError } from '../contract/errors.js';
import { requestFailureKinds } from '../contract/failure-kinds.js';
import { errorDocsPath, type Problem, problemMediaType } from '../contract/problem.js';

const envelopeMediaType = 'application/json';

/** Writes an answer: one line of JSON that no cache keeps (contract.md 1.3). */
function writeJson(response: Response, status: number, body: unknown, mediaType = envelopeMediaType): void {
  const text = jsonLine(body);
  response.status(status);
  response.setHeader('content-type', `${mediaType}; charset=utf-8`);
  response.setHeader('content-length', Buffer.byteLength(text));
  response.setHeader('cache-control', 'no-store');
  response.end(text);
}

/** How every answer is written: one line. */
export const jsonLine = (body: unknown): string => `${JSON.stringify(body)}\n`;

/** The success envelope. The status is 200 but for a readiness that is not given. */
export function writeData(response: Response, status: number, data: unknown, traceId: string): void {
  writeJson(response, status, { ok: true, data, traceId });
}

/**
 * The failure envelope, or the same as a problem (RFC 9457) for a caller that prefers it, with the headers that go with its status.
 *
 * @param pathPrefix of the API: the problem's `type` is a path of its public address.
 */
export function writeError(
  response: Response,
  error: AgentRunError,
  { traceId, pathPrefix }: { readonly traceId: string; readonly pathPrefix: string },
): void {
  if (response.headersSent || response.writableEnded) {
    response.destroy();
    return;
  }
  if (error.retryAfterSeconds !== undefined)
    response.setHeader('retry-after', String(error.retryAfterSeconds));
  if (error.httpStatus === 401) response.setHeader('www-authenticate', 'Bearer realm="agentrun"');
  // What was not read of the body would otherwise be taken for the next request.
  if (!response.req.complete) response.setHeader('connection', 'close');
  response.vary('Accept');
  // Whoever accepts neither is told in the envelope too.
  if (response.req.accepts([envelopeMediaType, problemMediaType]) === problemMediaType) {
    writeJson(response, error.httpStatus, problemOf(error, traceId, pathPrefix), problemMediaType);
  } else writeJson(response, error.httpStatus, errorEnvelope(error, traceId));
}

export function errorEnvelope(error: AgentRunError, traceId: string): ErrorEnvelope {
  const { failureKind, message, details } = error;
  return {
    ok: false,
    failureKind,
    message,
    traceId,
    error: { failureKind, message, ...(details === undefined ? {} : { details }) },
  };
}

function problemOf(error: AgentRunError, traceId: string, pathPrefix: string): Problem {
  const { failureKind, message, details, httpStatus } = error;
  return {
    type: `${pathPrefix}${errorDocsPath}#${failureKind}`,
    title: requestFailureKinds[failureKind].meaning,
    status: httpStatus,
    detail: message,
    failureKind,
    traceId,
    ...(details === undefined ? {} : { details }),
  };
}
