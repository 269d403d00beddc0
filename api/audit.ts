import { AgentRunError } from '../contract/errors.js';
import type { RouteContract } from '../contract/route-contract.js';
import type { Redactor } from '../infra/telemetry/redaction.js';
import { type AuditEnd, beginAudit, endAudit, recordRefusal } from '../store/audit.js';
import { createdResource, resourceOfPath, tenantIn } from './audit-resource.js';
import type { ApiCaller, Caller } from './auth.js';
import type { ApiDeps } from './deps.js';
import { toAgentRunError } from './errors.js';
import type { Route } from './route.js';
import type { RequestTrace } from './trace.js';

/**
 * Whether requests of a route are audited: those of people and their programs that may change something. What a runner does for its run (a route that
 * takes a run or runner token too) is in the run's event log.
 */
export function isAudited(contract: RouteContract): boolean {
  if (contract.method === 'get' || contract.auth === 'none') return false;
  return contract.auth.api !== undefined && !isRunnerRoute(contract);
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

const notAudited: RequestAudit = {
  begin: () => Promise.resolve(),
  succeeded: () => undefined,
  failed: () => undefined,
};

/** The audit of a request by a caller who is known, though perhaps not allowed. */
export function auditOf(
  deps: ApiDeps,
  { contract, operationId }: Route,
  request: {
    readonly caller: Caller;
    readonly params: Readonly<Record<string, unknown>>;
    readonly trace: RequestTrace;
  },
): RequestAudit {
  const { caller, params, trace } = request;
  if (caller.kind !== 'api' || !isAudited(contract)) return notAudited;
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
    const written =
      auditId === undefined ? recordRefusal(deps.pool, entry, end) : endAudit(deps.pool, auditId, end);
    // The effect has happened, or there was none: the answer stands.
    written.catch((cause: unknown) => {
      deps.metrics.auditWriteFailed();
      deps.logger.error(
        { cause, auditId, operation: operationId, outcome: end.outcome, traceId: trace.traceId },
        'the outcome of a request is missing in the audit log',
      );
    });
  };
  return {
    async begin(body) {
      try {
        const tenantId = entry.tenantId ?? tenantIn(body);
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
