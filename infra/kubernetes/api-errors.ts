import { ApiException } from '@kubernetes/client-node';
import { z } from 'zod';

/** Of what an API server says. */
const longestReason = 500;

const statusSchema = z.object({ message: z.string().optional(), reason: z.string().optional() });

/** Whether the API server answered with this HTTP status. */
export function hasStatus(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof ApiException && codes.includes(error.code);
}

/** The API server will not do it, however often it is asked: admission, a quota, rights, or an object that it does not take. */
export const isRefused = (error: unknown): boolean => hasStatus(error, 400, 403, 422);

/** Why a call failed, in the API server's own words and without the headers that an exception carries. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof ApiException)) return error instanceof Error ? error.message : String(error);
  const status = statusSchema.safeParse(bodyOf(error.body));
  const said = status.success ? (status.data.message ?? status.data.reason) : undefined;
  return `HTTP ${error.code}${said === undefined ? '' : `: ${said.slice(0, longestReason)}`}`;
}

/** The client gives the body of a status that it did not expect as text. */
function bodyOf(body: unknown): unknown {
  if (typeof body !== 'string') return body;
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
