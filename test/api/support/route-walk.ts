import { expect } from 'vitest';
import { errorEnvelopeSchema } from '../../../contract/envelope.js';
import { requestFailureKinds } from '../../../contract/failure-kinds.js';
import { failuresOf, type RouteContract } from '../../../contract/route-contract.js';
import { type OperationId, routes } from '../../../contract/routes/index.js';
import type { ApiAnswer, CallOptions, TestApi } from '../../support/api.js';

/** A route with its operation id. */
export interface WalkedRoute {
  readonly id: OperationId;
  readonly contract: RouteContract;
}

/** All routes of the contract: what a walk goes through. */
export const everyRoute: readonly WalkedRoute[] = operationIds(routes).map((id) => ({
  id,
  contract: routes[id],
}));

function operationIds(table: typeof routes): OperationId[] {
  const isOperationId = (id: string): id is OperationId => Object.hasOwn(table, id);
  return Object.keys(table).filter(isOperationId);
}

/** Ids that are well formed and name nothing. */
const unknownIds: Readonly<Record<string, string>> = {
  sessionId: 'nobodys-session',
  runId: `run_${'0'.repeat(26)}`,
  commandId: `cmd_${'0'.repeat(26)}`,
  runnerJobId: `job_${'0'.repeat(26)}`,
  requestId: `req_${'0'.repeat(26)}`,
  taskId: `task_${'0'.repeat(26)}`,
  webhookId: `whk_${'0'.repeat(26)}`,
  deliveryId: `dlv_${'0'.repeat(26)}`,
  runnerId: 'nobodys-runner',
};

/** The path of a route with these ids; those that are left out are unknown ones. */
export function pathOf({ path }: RouteContract, params: Readonly<Record<string, string>> = {}): string {
  return path.replaceAll(/:(\w+)/g, (_all, name: string) => {
    const value = params[name] ?? unknownIds[name];
    if (value === undefined) throw new Error(`no id for :${name}; add one to unknownIds`);
    return value;
  });
}

/** Asks a route. Every failure must be an envelope whose kind the contract lists with this status. */
export async function ask(
  api: TestApi,
  { id, contract }: WalkedRoute,
  path: string,
  options: CallOptions & { readonly method?: string } = {},
): Promise<ApiAnswer> {
  const method = options.method ?? contract.method.toUpperCase();
  const answer = await api.call(method, path, options);
  if (answer.status >= 400 && answer.body.ok === false && method !== 'HEAD') {
    const { failureKind } = errorEnvelopeSchema.parse(answer.body);
    const listed = [...failuresOf(contract), 'method-not-allowed'].filter((kind) => kind === failureKind);
    expect([id, failureKind, listed]).toEqual([id, failureKind, [failureKind]]);
    expect(Object.entries(requestFailureKinds)).toContainEqual([
      failureKind,
      expect.objectContaining({ status: answer.status }),
    ]);
    expect(answer.status).not.toBe(500);
  }
  return answer;
}

/** Status and failure kind of an answer, for comparisons. */
export const outcomeOf = ({ status, body }: ApiAnswer): string =>
  body.ok ? String(status) : `${status} ${String(body.failureKind)}`;
