import type { ProviderEvidence } from '../../../contract/commands.js';
import type { RunFailureKind } from '../../../contract/failure-kinds.js';
import type { CodexErrorInfo } from './codex-protocol.js';

/** What is known of a failed turn: the agent's word, its text, and what the proxy saw of the last request. */
export interface ProviderFailureFacts {
  readonly codexErrorInfo: CodexErrorInfo | null;
  readonly message: string;
  readonly proxy: {
    readonly status: number | null;
    readonly errorCode: string | null;
    readonly ended: string;
    readonly resetAtMs?: number | null;
  } | null;
}

export interface ProviderFailure {
  readonly failureKind: RunFailureKind;
  /** Who says so (decisions.md, "Provider errors"): with both the confidence is high, with one medium. */
  readonly evidence: 'proxy' | 'agent' | 'both' | 'none';
}

const kindByInfo: Readonly<Record<string, RunFailureKind>> = {
  contextWindowExceeded: 'context-window-exceeded',
  sessionBudgetExceeded: 'provider-quota',
  usageLimitExceeded: 'provider-quota',
  rateLimitExceeded: 'provider-rate-limited',
  unauthorized: 'provider-auth',
  modelNotFound: 'model-not-found',
  serverOverloaded: 'provider-overloaded',
  flexUnavailable: 'provider-overloaded',
  badRequest: 'provider-rejected',
  cyberPolicy: 'provider-rejected',
  misalignmentPolicyViolation: 'provider-rejected',
  policyCapacityUnavailable: 'provider-rejected',
  inferenceHookDenied: 'provider-rejected',
  tooManyDenials: 'provider-rejected',
  internalServerError: 'provider-unavailable',
};

const kindByCode: Readonly<Record<string, RunFailureKind>> = {
  insufficient_quota: 'provider-quota',
  usage_limit_reached: 'provider-quota',
  usage_not_included: 'provider-quota',
  billing_hard_limit_reached: 'provider-quota',
  rate_limit_exceeded: 'provider-rate-limited',
  context_length_exceeded: 'context-window-exceeded',
  model_not_found: 'model-not-found',
  invalid_api_key: 'provider-auth',
  server_is_overloaded: 'provider-overloaded',
  slow_down: 'provider-overloaded',
};
/** Says no more than that something failed: a failing status is the better word. */
const generalCode = 'server_error';

/**
 * Maps a provider failure to the closed list of failure kinds (decisions.md, "Provider errors"). `evidence` is `both` when the two speak of the same
 * failure: the same kind, or the proxy with the exact word where the agent has only a status or a general one. Pure.
 */
export function classifyCodexError(facts: ProviderFailureFacts): ProviderFailure {
  const agent = kindFromAgent(facts);
  const proxy = kindFromProxy(facts.proxy);
  if (agent !== null && proxy !== null) {
    const { status } = readInfo(facts.codexErrorInfo);
    const refined = isGeneral(agent) || (status !== null && status === facts.proxy?.status);
    return { failureKind: refined ? proxy : agent, evidence: refined || agent === proxy ? 'both' : 'agent' };
  }
  if (agent !== null) return { failureKind: agent, evidence: 'agent' };
  // Codex' word for a request that was refused is `other`: with the status it is the signal that the table names.
  const isRefusal = proxy === 'provider-rejected' && readInfo(facts.codexErrorInfo).name === 'other';
  if (proxy !== null) return { failureKind: proxy, evidence: isRefusal ? 'both' : 'proxy' };
  return { failureKind: 'agent-error', evidence: 'none' };
}

/** Kinds whose limit has a time at which it is over. */
const limited: ReadonlySet<RunFailureKind> = new Set([
  'provider-rate-limited',
  'provider-quota',
  'provider-overloaded',
]);

/** What a failed turn's outcome tells of the provider; null when the provider has no part in it. Pure. */
export function providerEvidence(
  facts: ProviderFailureFacts,
  { failureKind, evidence }: ProviderFailure,
): ProviderEvidence | null {
  if (evidence === 'none') return null;
  const agent = readInfo(facts.codexErrorInfo);
  const resetAtMs = limited.has(failureKind) ? (facts.proxy?.resetAtMs ?? null) : null;
  return {
    evidence,
    status: facts.proxy?.status ?? agent.status,
    errorCode: facts.proxy?.errorCode?.slice(0, 200) ?? null,
    agentErrorInfo: agent.name === '' ? null : agent.name.slice(0, 200),
    resetAt: resetAtMs === null ? null : new Date(resetAtMs).toISOString(),
  };
}

/** The agent's own kinds that a lost stream or any server failure may stand behind. */
function isGeneral(kind: RunFailureKind): boolean {
  return kind === 'provider-unavailable' || kind === 'provider-disconnected';
}

function kindFromAgent({ codexErrorInfo, message }: ProviderFailureFacts): RunFailureKind | null {
  const { name, status } = readInfo(codexErrorInfo);
  const known = kindByInfo[name];
  if (known !== undefined) return known;
  if (status !== null) return kindFromStatus(status);
  if (name.startsWith('responseStream')) return 'provider-disconnected';
  if (name === 'httpConnectionFailed') return 'provider-unavailable';
  if (/missing environment variable/i.test(message)) return 'provider-auth';
  if (/stream disconnected|idle timeout waiting for sse|stream closed before/i.test(message))
    return 'provider-disconnected';
  return null;
}

function kindFromProxy(proxy: ProviderFailureFacts['proxy']): RunFailureKind | null {
  if (proxy === null) return null;
  const known = proxy.errorCode === null ? undefined : kindByCode[proxy.errorCode];
  if (known !== undefined) return known;
  if (proxy.ended === 'unreachable') return 'provider-unavailable';
  if (proxy.ended === 'upstream-lost' || proxy.ended === 'upstream-silent') return 'provider-disconnected';
  const byStatus = proxy.status === null ? null : kindFromStatus(proxy.status);
  return byStatus ?? (proxy.errorCode === generalCode ? 'provider-unavailable' : null);
}

/** Kind of an HTTP status of a provider: those of decisions.md, and 402, 413, 422 and 529, which say the same in other words. */
function kindFromStatus(status: number): RunFailureKind | null {
  if (status === 401 || status === 403) return 'provider-auth';
  if (status === 402) return 'provider-quota';
  if (status === 404) return 'model-not-found';
  if (status === 429) return 'provider-rate-limited';
  if (status === 503 || status === 529) return 'provider-overloaded';
  if (status >= 500) return 'provider-unavailable';
  return status === 400 || status === 413 || status === 422 ? 'provider-rejected' : null;
}

/** Name and HTTP status of the info: a word, or an object with one member that holds `httpStatusCode`. */
export function readInfo(info: CodexErrorInfo | null): { name: string; status: number | null } {
  if (info === null) return { name: '', status: null };
  if (typeof info === 'string') return { name: info, status: null };
  const [entry] = Object.entries(info);
  if (entry === undefined) return { name: '', status: null };
  const [name, detail] = entry;
  const status =
    typeof detail === 'object' && detail !== null && 'httpStatusCode' in detail
      ? detail.httpStatusCode
      : null;
  return { name, status: typeof status === 'number' ? status : null };
}
