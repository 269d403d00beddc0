import { z } from 'zod';

/** What the registry says of a failure kind of a request: its HTTP status, what it means and what the caller does, one sentence each. */
export interface RequestFailure {
  readonly status: number;
  readonly meaning: string;
  readonly cure: string;
  /** The same request, sent again later, may be answered with success. */
  readonly retryable: boolean;
}

/** Failure kinds of a request: the word in the error envelope (decisions.md, HTTP "errors"). `docs/errors.md` is made from this. */
export const requestFailureKinds = {
  'schema-invalid': {
    status: 400,
    meaning:
      'A path, a query or a body is not as the schema of the route says, or is no JSON or UTF-8 at all.',
    cure: 'Correct the fields that `error.details.issues` names, each with what was expected.',
    retryable: false,
  },
  unauthorized: {
    status: 401,
    meaning:
      'The token is missing, malformed, unknown, has expired, or is of another kind than the route takes.',
    cure: 'Send `authorization: Bearer` with a valid token; a runner takes the one of its last heartbeat.',
    retryable: false,
  },
  forbidden: {
    status: 403,
    meaning: 'The token is valid, but its scope, its tenant or its run does not allow this.',
    cure: 'Use a token of the scope that the message names, and of the tenant that the body names.',
    retryable: false,
  },
  'not-found': {
    status: 404,
    meaning: 'The route exists, the thing does not, or it belongs to another tenant.',
    cure: 'Check the id and whether the token is of the tenant that the thing belongs to.',
    retryable: false,
  },
  'route-not-found': {
    status: 404,
    meaning: 'No route has this path.',
    cure: 'Check the path and the base URL of the API, its path prefix included; `/openapi.json` lists all routes.',
    retryable: false,
  },
  'method-not-allowed': {
    status: 405,
    meaning: 'The path exists, but not with this method.',
    cure: 'Use a method of the `Allow` header.',
    retryable: false,
  },
  'request-timeout': {
    status: 408,
    meaning:
      'The request did not arrive whole in time; nothing of it was done, but of an ingest the lines before `error.details.lastAcceptedSeq` are stored.',
    cure: 'Send it again on a connection that is fast enough.',
    retryable: true,
  },
  conflict: {
    status: 409,
    meaning:
      'The thing exists with other values, its state does not allow this, or the idempotency key was used with another body.',
    cure: 'Read the thing anew and decide; for another body take another idempotency key.',
    retryable: false,
  },
  fenced: {
    status: 409,
    meaning: 'The attempt of this runner was replaced or has ended: it may not write any more.',
    cure: 'Stop the work of this attempt; nothing that it sends is taken.',
    retryable: false,
  },
  'cursor-ahead': {
    status: 409,
    meaning:
      'The cursor is beyond the last event of this stream: it belongs to another one or to another installation, or is mistyped.',
    cure: 'Read the stream anew without a cursor.',
    retryable: false,
  },
  'session-busy': {
    status: 409,
    meaning: 'The session has an active turn, and the request is only for one without.',
    cure: 'Wait for the end of the turn, cancel it, or choose another `whenBusy`.',
    retryable: true,
  },
  'session-store-evicted': {
    status: 409,
    meaning: "The session's storage was evicted, so that its agent cannot go on.",
    cure: 'Create a new session; events and results of this one stay readable.',
    retryable: false,
  },
  'payload-too-large': {
    status: 413,
    meaning: 'The body or a batch of events is over its limit.',
    cure: 'Send less at once: at most 1 MiB of JSON, and batches within the limits that the details name.',
    retryable: false,
  },
  'unsupported-media-type': {
    status: 415,
    meaning: 'The content type, its charset or the content encoding is not one that the route reads.',
    cure: 'Send `content-type: application/json` (for ingest `application/x-ndjson`) in UTF-8, not compressed.',
    retryable: false,
  },
  'rate-limited': {
    status: 429,
    meaning:
      'The token, the session or the run has more requests or streams under way, or in a short time, than it may.',
    cure: 'Send it again after the seconds of `Retry-After`, with the same idempotency key; close streams that nobody reads and share one among viewers, or have the operator raise the setting that the message names, or `AGENTRUN_RATE_LIMIT_PER_MINUTE`.',
    retryable: true,
  },
  'headers-too-large': {
    status: 431,
    meaning: 'The request line and the headers together are longer than 16 KiB.',
    cure: 'Shorten the URL and the headers.',
    retryable: false,
  },
  'infra-failed': {
    status: 500,
    meaning: 'Something went wrong inside AgentRun.',
    cure: 'Send it again with the same idempotency key; if it persists, look for the trace id in the log of the API.',
    retryable: true,
  },
  unavailable: {
    status: 503,
    meaning:
      'Postgres or Temporal is not reachable or too slow, and whether the request took effect may be unknown; or an API process serves as many streams as `AGENTRUN_STREAMS_PER_PROCESS` says.',
    cure: 'Send it again after the seconds of `Retry-After`, with the same idempotency key.',
    retryable: true,
  },
} as const satisfies Record<string, RequestFailure>;

export type RequestFailureKind = keyof typeof requestFailureKinds;

/** Whether a word of another process is one of the registry. */
export const isRequestFailureKind = (word: unknown): word is RequestFailureKind =>
  typeof word === 'string' && Object.hasOwn(requestFailureKinds, word);

/** Kinds of the runner, its pod and the session's storage; each is a terminal category of its own (decisions.md, terminalClassification). */
export const infrastructureFailureKinds = [
  'runner-never-claimed',
  'runner-lost',
  'runner-oom-killed',
  'runner-evicted',
  'runner-unhealthy',
  'node-lost',
  'image-pull-failed',
  'invalid-pod',
  'prerequisite-failed',
  'unschedulable',
  'storage-unavailable',
  'session-store-evicted',
] as const;
export type InfrastructureFailureKind = (typeof infrastructureFailureKinds)[number];

/** Kinds of the model provider (decisions.md, "Provider errors"). */
export const providerFailureKinds = [
  'provider-auth',
  'provider-rate-limited',
  'provider-quota',
  'provider-rejected',
  'model-not-found',
  'provider-unavailable',
  'provider-overloaded',
  'context-window-exceeded',
  'provider-disconnected',
] as const;
export type ProviderFailureKind = (typeof providerFailureKinds)[number];

/** Failure kinds of a run (decisions.md, "Failure kinds of a run" and "Provider errors"): a closed list. What each means: `run-failures.ts`. */
export const runFailureKinds = [
  ...infrastructureFailureKinds,
  'agent-error',
  'first-output-timeout',
  'idle-timeout',
  'hard-timeout',
  'deadline-exceeded',
  'budget-exceeded',
  'poison-turn',
  'cancelled',
  'infra-failed',
  ...providerFailureKinds,
] as const;
export const runFailureKindSchema = z
  .enum(runFailureKinds)
  .meta({ id: 'RunFailureKind', description: 'Why a run failed.' });
export type RunFailureKind = z.infer<typeof runFailureKindSchema>;

const knownRunFailures: ReadonlySet<string> = new Set(runFailureKinds);
/** Whether a word of a runner is one of the list. */
export const isRunFailureKind = (word: string): word is RunFailureKind => knownRunFailures.has(word);
