import pg from 'pg';
import { AgentRunError } from '../contract/errors.js';

/** SQLSTATE classes and codes that say: not now. Connections, resources, shutting down, and waits of ours that ran out. */
const passingDatabaseStates = /^(08|53|57P0[123]|57014|55P03|40001|40P01)/;
/** SQLSTATE class of values that Postgres cannot hold, such as a time out of its range: a schema let them through. */
const dataException = '22';
const passingNetworkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'EAI_AGAIN',
]);
/** pg's own errors have no code. */
const passingMessages =
  /connection terminated|timeout exceeded when trying to connect|timeout expired|Query read timeout/i;

/**
 * The error that a caller is told. What is not ours becomes `unavailable` when waiting helps, `schema-invalid` when Postgres cannot hold a value, else
 * `infra-failed`; none says anything of SQL, hosts or stacks.
 */
export function toAgentRunError(error: unknown): AgentRunError {
  if (error instanceof AgentRunError) return error;
  if (isPassing(error)) {
    return new AgentRunError('unavailable', 'the database is not reachable or too slow; try again', {
      retryAfterSeconds: 2,
      cause: error,
    });
  }
  if (error instanceof pg.DatabaseError && error.code?.startsWith(dataException) === true) {
    return new AgentRunError('schema-invalid', 'a value of the request cannot be stored', { cause: error });
  }
  return new AgentRunError(
    'infra-failed',
    'something went wrong inside AgentRun; the log has it under this trace id',
    {
      cause: error,
    },
  );
}

function isPassing(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isPassing);
  if (error instanceof pg.DatabaseError) return passingDatabaseStates.test(error.code ?? '');
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string' && passingNetworkCodes.has(error.code)) return true;
  return passingMessages.test(error.message);
}
