import { z } from 'zod';

/** Failure kinds of a request: the word in the error envelope and its HTTP status (decisions.md, HTTP "errors"). */
export const requestFailureKinds = {
  'schema-invalid': 400,
  unauthorized: 401,
  forbidden: 403,
  'not-found': 404,
  'route-not-found': 404,
  'method-not-allowed': 405,
  conflict: 409,
  fenced: 409,
  'session-busy': 409,
  'session-store-evicted': 409,
  'payload-too-large': 413,
  'unsupported-media-type': 415,
  'rate-limited': 429,
  unavailable: 503,
  'infra-failed': 500,
} as const satisfies Record<string, number>;

export type RequestFailureKind = keyof typeof requestFailureKinds;

/** Failure kinds of a run (decisions.md, "Failure kinds of a run" and "Provider errors"): a closed list. */
export const runFailureKinds = [
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
  'agent-error',
  'first-output-timeout',
  'idle-timeout',
  'hard-timeout',
  'deadline-exceeded',
  'budget-exceeded',
  'storage-unavailable',
  'session-store-evicted',
  'poison-turn',
  'cancelled',
  'infra-failed',
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
export const runFailureKindSchema = z.enum(runFailureKinds);
export type RunFailureKind = z.infer<typeof runFailureKindSchema>;
