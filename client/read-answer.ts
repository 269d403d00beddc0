import type { z } from 'zod';
import { ApiError, ConnectionError } from './api-errors.js';
import { readEnvelope } from './envelope.js';

/** An answer of the API that has arrived whole. */
interface WholeAnswer {
  readonly response: Response;
  readonly text: string;
  /** Method and path, for messages. */
  readonly route: string;
}

/**
 * The data of an envelope, if it fits the contract.
 *
 * @throws ApiError the API refused; ConnectionError `invalid-answer`.
 */
export function readAnswer<Schema extends z.ZodType>(schema: Schema, answer: WholeAnswer): z.output<Schema> {
  const { response, text, route } = answer;
  if (!response.ok) throw refusalOf(answer);
  const envelope = readEnvelope(text);
  if (envelope === undefined) {
    throw new ConnectionError('invalid-answer', `${route}: the answer is not an AgentRun envelope`);
  }
  if (!envelope.ok) throw refusalOf(answer);
  return fitting(schema, envelope.data, `${route}: the answer`);
}

/** What an answer without success says. */
export function refusalOf({ response, text, route }: WholeAnswer): ApiError {
  const { status } = response;
  const envelope = readEnvelope(text);
  const said =
    envelope === undefined || envelope.ok
      ? { failureKind: `http-${status}`, message: `${route}: HTTP ${status}` }
      : { failureKind: envelope.failureKind, message: envelope.message, details: envelope.details };
  return new ApiError({ status, ...said, retryAfterSeconds: retryAfterSeconds(response) });
}

/**
 * A value that came over the wire, as the contract has it.
 *
 * @throws ConnectionError `invalid-answer`, naming the fields that do not fit.
 */
export function fitting<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  what: string,
): z.output<Schema> {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const paths = read.error.issues
    .slice(0, 5)
    .map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
  throw new ConnectionError('invalid-answer', `${what} does not fit the contract (${paths.join('; ')})`);
}

/** The error of a request that got no answer. */
export function noConnection(route: string, error: unknown): ConnectionError {
  return new ConnectionError('network', `${route}: no connection to the API`, {
    // What fetch says itself is always the same.
    cause: error instanceof Error && error.cause instanceof Error ? error.cause : error,
  });
}

function retryAfterSeconds(response: Response): number | undefined {
  const header = response.headers.get('retry-after');
  if (header === null || !/^\d{1,6}$/.test(header.trim())) return undefined;
  return Number(header);
}
