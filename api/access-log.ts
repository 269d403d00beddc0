import type { OperationId } from '../contract/routes/index.js';
import type { Logger } from '../infra/telemetry/logger.js';
import type { RequestTrace } from './trace.js';

/** What runners send again and again while a turn goes on. */
const runnerTraffic: ReadonlySet<string | undefined> = new Set([
  'ingestEvents',
  'sendDeltas',
  'renewLease',
  'renewRunner',
  'acknowledgeCommand',
] satisfies OperationId[]);

/**
 * The line of an answered request: its route, never the path as it was sent, in which a caller may have put anything. At
 * `info` what changes something and what was refused; at `debug` reads, the steady traffic of runners, and the noise of
 * strangers (401, 404).
 */
export function logRequest(
  logger: Logger,
  { traceId, facts }: Pick<RequestTrace, 'traceId' | 'facts'>,
  answer: { readonly method: string; readonly status: number; readonly durationMs: number },
): void {
  const { method, status } = answer;
  const line = { ...answer, ...facts, traceId };
  const isNoise = status === 401 || status === 404;
  const isRead = method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
  const isSteady = isRead || runnerTraffic.has(facts.operationId);
  if (isNoise || (status < 400 && isSteady)) logger.debug(line, 'request');
  else logger.info(line, 'request');
}
