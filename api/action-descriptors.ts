import type { ActionDescriptor } from '../contract/sessions.js';

/** A symbolic next step (contract.md 3.6.7, "Action descriptor rule"): what is not given is null. */
export function actionDescriptor(
  step: Pick<ActionDescriptor, 'action' | 'operation' | 'resourceKind' | 'resourceName'> &
    Partial<ActionDescriptor>,
): ActionDescriptor {
  return { runId: null, commandId: null, sessionId: null, ...step, valuesPrinted: false };
}

/** What a client does after a send (contract.md 3.6.7), in this order. */
export function pollActions(ids: {
  sessionId: string;
  runId: string;
  commandId: string;
}): ActionDescriptor[] {
  const { sessionId, runId, commandId } = ids;
  const session = { resourceKind: 'session', resourceName: sessionId, sessionId };
  const page = { runId, commandId, afterSeq: 0, limit: 100 };
  return [
    actionDescriptor({ action: 'inspect-session', operation: 'describe', ...session, readerId: 'cli' }),
    actionDescriptor({
      action: 'poll-trace',
      operation: 'events',
      resourceKind: 'run',
      resourceName: runId,
      sessionId,
      ...page,
    }),
    actionDescriptor({ action: 'poll-output', operation: 'logs', ...session, ...page }),
    actionDescriptor({ action: 'read-session', operation: 'read', ...session, readerId: 'cli' }),
    actionDescriptor({ action: 'cancel-session', operation: 'cancel', ...session, reasonRequired: true }),
  ];
}
