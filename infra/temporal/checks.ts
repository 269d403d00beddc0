import type { Client } from '@temporalio/client';
import type { Check, CheckFinding } from '../../contract/doctor.js';
import {
  mainTaskQueue,
  searchAttributeNames,
  storageTaskQueue,
  superviseTaskQueue,
} from '../../domain/workflow-ids.js';

/** Below the limit of a check, so that gRPC's own words are shown. */
const callLimitMs = 2_500;
/** Pollers ask again at least once a minute; the server lists them for five. */
const freshPollMs = 120_000;
/** Codes of gRPC, and of Temporal's TaskQueueType. */
const notFound = 5;
const workflowTasks = 1;
const activityTasks = 2;

/** Whether Temporal is there, knows our namespace and search attributes, and has workers that poll (architecture.md 4.2). */
export function temporalChecks(client: Client, address: string): Check[] {
  const { connection } = client;
  const { namespace } = client.options;
  const within = <T>(call: () => Promise<T>): Promise<T> =>
    connection.withDeadline(Date.now() + callLimitMs, call);
  return [
    {
      name: 'temporal',
      variable: 'TEMPORAL_ADDRESS',
      cure: `start the Temporal server, or correct TEMPORAL_ADDRESS (${address})`,
      look: async () => {
        try {
          await within(() => connection.workflowService.describeNamespace({ namespace }));
        } catch (error) {
          if (grpcCode(error) !== notFound)
            throw new Error(`no Temporal server answers at ${address}`, { cause: error });
          return {
            ok: false,
            message: `Temporal at ${address} has no namespace ${namespace}`,
            cure: `make the namespace (temporal operator namespace create -n ${namespace}), or correct TEMPORAL_NAMESPACE`,
            variable: 'TEMPORAL_NAMESPACE',
          };
        }
        return { ok: true, message: `${address} has the namespace ${namespace}` };
      },
    },
    {
      name: 'search attributes',
      needs: 'temporal',
      variable: 'TEMPORAL_NAMESPACE',
      cure: 'see deploy/temporal/register-search-attributes.sh',
      look: async () => {
        const listed = await within(() => connection.operatorService.listSearchAttributes({ namespace }));
        const known = listed.customAttributes;
        const missing = Object.values(searchAttributeNames).filter((name) => !(name in known));
        return missing.length === 0
          ? { ok: true, message: 'all are registered' }
          : {
              ok: false,
              message: `not registered in the namespace ${namespace}: ${missing.join(', ')}`,
              cure: 'register them: deploy/temporal/register-search-attributes.sh',
            };
      },
    },
    {
      name: 'task queues',
      needs: 'temporal',
      variable: 'TEMPORAL_ADDRESS',
      cure: 'start a worker that uses the same TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE',
      look: () => lookAtQueues(client, within),
    },
  ];
}

async function lookAtQueues(
  client: Client,
  within: <T>(call: () => Promise<T>) => Promise<T>,
): Promise<CheckFinding> {
  const { workflowService } = client.connection;
  const { namespace } = client.options;
  const isPolled = async (name: string, taskQueueType: 1 | 2): Promise<boolean> => {
    const { pollers } = await within(() =>
      workflowService.describeTaskQueue({ namespace, taskQueue: { name }, taskQueueType }),
    );
    const since = (Date.now() - freshPollMs) / 1_000;
    return (pollers ?? []).some(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) >= since);
  };
  const [open, workflows, activities, supervision, storage] = await Promise.all([
    within(() =>
      workflowService.countWorkflowExecutions({
        namespace,
        query: `TaskQueue = '${mainTaskQueue}' and ExecutionStatus = 'Running'`,
      }),
    ),
    isPolled(mainTaskQueue, workflowTasks),
    isPolled(mainTaskQueue, activityTasks),
    isPolled(superviseTaskQueue, activityTasks),
    isPolled(storageTaskQueue, activityTasks),
  ]);
  const count = Number(open.count);
  const unpolled = [
    ...(workflows && activities ? [] : [mainTaskQueue]),
    ...(supervision ? [] : [superviseTaskQueue]),
    ...(storage ? [] : [storageTaskQueue]),
  ];
  if (unpolled.length === 0)
    return { ok: true, message: `workers poll all task queues; ${count} open workflows` };
  const queues = unpolled.join(' and ');
  return {
    ok: false,
    severity: count > 0 ? 'error' : 'warning',
    message:
      count > 0
        ? `${count} open workflows, and nobody polls the task queue ${queues}`
        : `nobody polls the task queue ${queues}`,
    cure: 'start a worker that uses the same TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE',
  };
}

function grpcCode(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
