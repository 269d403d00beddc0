import { AgentRunError } from '../contract/errors.js';
import type { RouteContract } from '../contract/route-contract.js';
import type { OperationId } from '../contract/routes/index.js';
import type { Redactor } from '../infra/telemetry/redaction.js';
import { type AuditEnd, beginAudit, endAudit, recordRefusal } from '../store/audit.js';
import type { Pool } from '../store/pool.js';
import { tenantOfResource } from '../store/resource-tenant.js';
import { createdResource, resourceOfPath, tenantIn } from './audit-resource.js';
import type { ApiCaller, Caller } from './auth.js';
import type { ApiDeps } from './deps.js';
import { toAgentRunError } from './errors.js';
import { RefusalSums } from './refusal-sums.js';
import type { Route } from './route.js';
import type { RequestTrace } from './trace.js';

/**
 * What comes many times in a turn and is told elsewhere: heartbeats, and the events of a run, which are its log. Everything else that an API token may
 * change is audited, also where a runner has a token of its own for it.
 */
const tooMany: readonly OperationId[] = ['ingestEvents', 'appendEvent', 'renewLease'];

/** Whether what API callers do by a route is audited. What a runner does for its run is in the run's event log. */
export function isAudited({ operationId, contract }: Pick<Route, 'operationId' | 'contract'>): boolean {
  if (contract.method === 'get' || contract.auth === 'none') return false;
  return contract.auth.api !== undefined && !tooMany.includes(operationId);
}

/** Whether a route belongs to the traffic between a runner and the API. */
export function isRunnerRoute({ auth }: RouteContract): boolean {
  return auth !== 'none' && (auth.run === true || auth.runner === true);
}

/** The audit entry of one request (security.md 20). Of its body nothing is kept but the tenant. */
export interface RequestAudit {
  /**
   * Before the effect. Without an entry there is no effect.
   *
   * @throws AgentRunError `unavailable`.
   */
  begin(body: unknown): Promise<void>;
  /** The answer is decided; it does not wait for the entry. */
  succeeded(status: number, data: unknown): void;
  failed(error: unknown): void;
}

/** Ends of entries that are being written, by database. */
const beingWritten = new WeakMap<Pool, Set<Promise<void>>>();

/** Resolves when the ends of all requests that were answered by now are in the audit log, or have failed: a stop waits for it. */
export async function auditsWritten(pool: Pool): Promise<void> {
  const writing = beingWritten.get(pool);
  if (writing !== undefined) await Promise.all(writing);
}

function remember(pool: Pool, written: Promise<void>): void {
  const all = beingWritten.get(pool) ?? new Set();
  beingWritten.set(pool, all.add(written));
  void written.finally(() => all.delete(written));
}

const notAudited: RequestAudit = {
  begin: () => Promise.resolve(),
  succeeded: () => undefined,
  failed: () => undefined,
};

/** Writes the audit log of one process. */
export class Audit {
  readonly #deps: ApiDeps;
  readonly #refusals: RefusalSums;

  constructor(deps: ApiDeps) {
    this.#deps = deps;
    this.#refusals = new RefusalSums((entry, end, requests) => {
      this.#settle(recordRefusal(deps.pool, entry, end, requests), {
        operation: entry.operation,
        outcome: end.outcome,
        traceId: entry.traceId,
      });
    }, deps.stopping);
  }

  /** The audit of a request by a caller who is known, though perhaps not allowed. */
  of(
    { contract, operationId }: Route,
    request: {
      readonly caller: Caller;
      readonly params: Readonly<Record<string, unknown>>;
      readonly trace: RequestTrace;
    },
  ): RequestAudit {
    const { caller, params, trace } = request;
    if (caller.kind !== 'api' || !isAudited({ contract, operationId })) return notAudited;
    const deps = this.#deps;
    const entry = {
      ...actorOf(caller),
      tenantId: caller.tenantId ?? null,
      operation: operationId,
      method: contract.method.toUpperCase(),
      route: contract.path,
      // A path may be made of anything: only what has the form of an id is kept, and no secret that is known.
      ...resourceOfPath(contract.path, wellFormed(contract, params, deps.redactor)),
      traceId: trace.traceId,
    };
    let auditId: string | undefined;
    const finish = (end: AuditEnd) => {
      if (auditId === undefined) this.#refusals.add(entry, end);
      else
        this.#settle(endAudit(deps.pool, auditId, end), {
          auditId,
          operation: operationId,
          outcome: end.outcome,
          traceId: trace.traceId,
        });
    };
    return {
      async begin(body) {
        try {
          const tenantId = entry.tenantId ?? (await tenantOfResource(deps.pool, entry)) ?? tenantIn(body);
          auditId = await beginAudit(deps.pool, { ...entry, tenantId });
        } catch (cause) {
          deps.metrics.auditWriteFailed();
          throw new AgentRunError('unavailable', 'the audit log cannot be written; nothing was done', {
            retryAfterSeconds: 2,
            cause,
          });
        }
      },
      succeeded(status, data) {
        const created = createdResource(contract.path, data);
        finish({ outcome: 'success', status, failureKind: null, ...created, tenantId: tenantIn(data) });
      },
      failed(error) {
        const { httpStatus, failureKind } = toAgentRunError(error);
        finish({
          outcome: httpStatus >= 500 ? 'failed' : 'refused',
          status: httpStatus,
          failureKind,
          resourceKind: null,
          resourceId: null,
          tenantId: null,
        });
      },
    };
  }

  /** The effect has happened, or there was none: the answer stands. */
  #settle(written: Promise<void>, about: Readonly<Record<string, unknown>>): void {
    const settled = written.catch((cause: unknown) => {
      this.#deps.metrics.auditWriteFailed();
      this.#deps.logger.error({ cause, ...about }, 'the outcome of a request is missing in the audit log');
    });
    remember(this.#deps.pool, settled);
  }
}

const actorOf = ({ name, via }: ApiCaller) => ({ actor: name, actorKind: via });

function wellFormed(
  { params: schema }: RouteContract,
  params: Readonly<Record<string, unknown>>,
  redactor: Redactor,
): Readonly<Record<string, unknown>> {
  if (!schema.safeParse(params).success) return {};
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [
      name,
      typeof value === 'string' ? redactor.text(value) : value,
    ]),
  );
}
