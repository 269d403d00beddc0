import { z } from 'zod';

/** The thing that a request is about, for the audit log. */
export interface AuditedResource {
  readonly resourceKind: string | null;
  readonly resourceId: string | null;
}

const none: AuditedResource = { resourceKind: null, resourceId: null };
const maxIdLength = 200;

/** Kinds by the name of the path's parameter. */
const kinds: Readonly<Record<string, string>> = {
  sessionId: 'session',
  runId: 'run',
  commandId: 'command',
  runnerJobId: 'runner-job',
  runnerId: 'runner',
  requestId: 'request',
  taskId: 'queue-task',
  webhookId: 'webhook',
  deliveryId: 'webhook-delivery',
};

/** Kinds of what a route without an id creates, by its path's last word. */
const kindsByCollection: Readonly<Record<string, string>> = {
  sessions: 'session',
  runs: 'run',
  tasks: 'queue-task',
  register: 'runner',
  webhooks: 'webhook',
};

/** What the last id of the path names: of `/runs/:runId/commands` the run. The values may be anything that was sent. */
export function resourceOfPath(path: string, params: Readonly<Record<string, unknown>>): AuditedResource {
  const name = path
    .split('/')
    .findLast((part) => part.startsWith(':'))
    ?.slice(1);
  if (name === undefined) return none;
  const id = storableWord(params[name]);
  return id === null ? none : { resourceKind: kinds[name] ?? name.replace(/Id$/, ''), resourceId: id };
}

const answerSchema = z.looseObject({
  id: z.string().optional(),
  sessionId: z.string().optional(),
  runnerId: z.string().optional(),
  session: z.looseObject({ sessionId: z.string() }).optional(),
});

/** What a request without an id in its path has created, from its answer. */
export function createdResource(path: string, answer: unknown): AuditedResource {
  const kind = kindsByCollection[path.split('/').at(-1) ?? ''];
  const parsed = answerSchema.safeParse(answer);
  if (kind === undefined || path.includes(':') || !parsed.success) return none;
  const { id, session, sessionId, runnerId } = parsed.data;
  const resourceId = storableWord(id ?? session?.sessionId ?? sessionId ?? runnerId);
  return resourceId === null ? none : { resourceKind: kind, resourceId };
}

const named = z
  .looseObject({ tenantId: z.string().optional().catch(undefined) })
  .optional()
  .catch(undefined);
const ownedSchema = z.looseObject({
  tenantId: z.string().optional().catch(undefined),
  run: named,
  session: named,
});

/** The tenant that a body or an answer names, itself or in its run or session. */
export function tenantIn(value: unknown): string | null {
  const parsed = ownedSchema.safeParse(value);
  if (!parsed.success) return null;
  const { tenantId, run, session } = parsed.data;
  return storableWord(tenantId ?? run?.tenantId ?? session?.tenantId);
}

/** Text that Postgres takes, and of a bounded length; null for what is none. */
function storableWord(value: unknown): string | null {
  if (typeof value !== 'string' || value.trim() === '') return null;
  return value.replaceAll('\0', '\uFFFD').trim().slice(0, maxIdLength);
}
