import { z } from 'zod';
import type { RequestFailureKind } from './failure-kinds.js';

export type RouteMethod = 'get' | 'post' | 'patch' | 'put' | 'delete';

/** Scopes of API tokens, each holding those before it (decisions.md, Auth). */
export const tokenScopes = ['read', 'operate', 'admin'] as const;
export const tokenScopeSchema = z.enum(tokenScopes);
export type TokenScope = z.infer<typeof tokenScopeSchema>;

/** What a route accepts: an API token of at least this scope, and kinds of runner tokens. `none`: no token is looked at. */
export type AuthRule =
  | 'none'
  | { readonly api?: TokenScope; readonly launch?: true; readonly runner?: true; readonly run?: true };

/**
 * What a repeat of a request does. `safe`: it reads. `key`: with an `Idempotency-Key` (or the body's own key) the first answer is replayed, another body
 * under that key is 409. `natural`: a repeat finds the thing as the first request left it. `none`: every request has its own effect.
 */
export type Idempotency = 'safe' | 'key' | 'natural' | 'none';

/** Schema of a part that a route does not look at. */
export const ignored = z.unknown();
/** No path parameters, no query. */
export const noFields = z.object({});

/** `event-stream`: server-sent events without an end of their own, instead of one envelope. */
export type AnswerKind = 'envelope' | 'event-stream';

/** All that is public about one route: the one source of validation, types, OpenAPI and the typed client. */
export interface RouteContract<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Data extends z.ZodType = z.ZodType,
  Answers extends AnswerKind = AnswerKind,
> {
  readonly method: RouteMethod;
  /** Express path, such as `/api/v1/runs/:runId`. */
  readonly path: string;
  readonly tag: string;
  /** One sentence for readers of the docs. */
  readonly summary: string;
  readonly auth: AuthRule;
  readonly params: Params;
  readonly query: Query;
  /** `ignored`: a body is not looked at, but if there is one it must be JSON (contract.md 1.2). */
  readonly bodyKind: 'none' | 'ignored' | 'json' | 'ndjson';
  /** An absent body counts as `{}` (contract.md 1.5). */
  readonly body: Body;
  readonly answers: Answers;
  /** Its requests are counted apart from the caller's others: what is worth little must not use up what those may have. */
  readonly countedApart: boolean;
  /** Shape of the envelope's `data`, or of each frame of the stream. */
  readonly data: Data;
  readonly idempotency: Idempotency;
  /** Failure kinds of this route beyond those that follow from its shape; {@link failuresOf} answers all. */
  readonly failures: readonly RequestFailureKind[];
  /** Statuses of answers with the success envelope. 200, and 503 of a readiness that is not given. */
  readonly statuses: readonly number[];
}

interface RouteSpec<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Data extends z.ZodType,
  Answers extends AnswerKind,
> {
  readonly method: RouteMethod;
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly auth: AuthRule;
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: Body;
  readonly bodyKind?: 'ndjson';
  readonly answers?: Answers;
  readonly countedApart?: true;
  readonly data: Data;
  readonly idempotency?: Exclude<Idempotency, 'safe'>;
  readonly failures?: readonly RequestFailureKind[];
  readonly statuses?: readonly number[];
}

/** Completes the description of a route. Reads are `safe`; a write that says nothing of repeats is `natural`. */
export function routeContract<
  Data extends z.ZodType,
  Params extends z.ZodType = typeof noFields,
  Query extends z.ZodType = typeof noFields,
  Body extends z.ZodType = typeof ignored,
  Answers extends AnswerKind = 'envelope',
>(spec: RouteSpec<Params, Query, Body, Data, Answers>): RouteContract<Params, Query, Body, Data, Answers>;
export function routeContract(
  spec: RouteSpec<z.ZodType, z.ZodType, z.ZodType, z.ZodType, AnswerKind>,
): RouteContract {
  const reads = spec.method === 'get';
  return {
    ...spec,
    params: spec.params ?? noFields,
    query: spec.query ?? noFields,
    body: spec.body ?? ignored,
    bodyKind: reads ? 'none' : (spec.bodyKind ?? (spec.body === undefined ? 'ignored' : 'json')),
    answers: spec.answers ?? 'envelope',
    countedApart: spec.countedApart ?? false,
    idempotency: reads ? 'safe' : (spec.idempotency ?? 'natural'),
    failures: spec.failures ?? [],
    statuses: spec.statuses ?? [200],
  };
}

/** Every failure kind that a route may answer, from its shape and its own list. */
export function failuresOf(route: RouteContract): ReadonlySet<RequestFailureKind> {
  const kinds = new Set<RequestFailureKind>([
    ...route.failures,
    'schema-invalid',
    'infra-failed',
    'unavailable',
  ]);
  if (route.auth !== 'none') {
    kinds.add('unauthorized').add('forbidden').add('rate-limited');
  }
  // The ids of routes for runner tokens alone are those of the token: another is forbidden.
  if (route.path.includes('/:') && route.auth !== 'none' && route.auth.api !== undefined)
    kinds.add('not-found');
  if (route.bodyKind !== 'none') kinds.add('payload-too-large').add('unsupported-media-type');
  if (route.idempotency === 'key') kinds.add('conflict');
  return kinds;
}
