import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  type Client,
  ScheduleAlreadyRunning,
  type ScheduleDescription,
  ScheduleOverlapPolicy,
} from '@temporalio/client';
import { mainTaskQueue, maintenanceWorkflowId } from '../domain/workflow-ids.js';
import type { Logger } from '../infra/telemetry/logger.js';
import { workflowTypes } from '../workflows/messages.js';

/** A workflow that is started again and again (architecture.md 4.5); a cycle that has not ended when the next is due is not joined by another. */
interface MaintenanceSchedule {
  /** Id of the Schedule, and in the ids of its workflows. */
  readonly name: string;
  readonly workflowType: string;
  readonly args: readonly unknown[];
  readonly everyMs: number;
  /** When in each interval, counted from midnight UTC. */
  readonly offsetMs: number;
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** Everything that AgentRun does by the clock for the whole installation. */
export const maintenanceSchedules: readonly MaintenanceSchedule[] = [
  {
    name: 'event-retention',
    workflowType: workflowTypes.eventRetention,
    args: [],
    everyMs: 24 * hourMs,
    offsetMs: 3 * hourMs + 17 * minuteMs,
  },
  {
    name: 'storage-gc',
    workflowType: workflowTypes.storageGc,
    args: [{ tenantId: null }],
    everyMs: hourMs,
    offsetMs: 23 * minuteMs,
  },
  {
    name: 'runner-retention',
    workflowType: workflowTypes.runnerRetention,
    args: [],
    everyMs: hourMs,
    offsetMs: 41 * minuteMs,
  },
];

/** A start that was missed while Temporal was away is made up for within this time. */
const catchupWindowMs = hourMs;
const jitterMs = 5 * minuteMs;
const askWithinMs = 5_000;
const attempts = 5;
const firstRetryMs = 1_000;

/**
 * Creates the Schedules that are missing and changes those that are different; whether one is paused is left to the operator. Every worker does so at its
 * start, and none is stopped by it: what fails is logged and tried again a few times.
 */
export async function ensureSchedules(
  client: Client,
  logger: Pick<Logger, 'info' | 'warn'>,
  signal: AbortSignal,
  schedules: readonly MaintenanceSchedule[] = maintenanceSchedules,
): Promise<void> {
  for (const schedule of schedules) {
    for (let attempt = 1; attempt <= attempts && !signal.aborted; attempt += 1) {
      try {
        const change = await client.withDeadline(Date.now() + askWithinMs, () => ensure(client, schedule));
        if (change !== 'none') logger.info({ schedule: schedule.name, change }, 'a Schedule was written');
        break;
      } catch (cause) {
        const waitMs = firstRetryMs * 2 ** attempt * (0.5 + Math.random() / 2);
        logger.warn(
          { schedule: schedule.name, attempt, givenUp: attempt === attempts, cause },
          'a Schedule could not be written',
        );
        if (attempt < attempts) await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }
}

async function ensure(
  client: Client,
  schedule: MaintenanceSchedule,
): Promise<'none' | 'created' | 'changed'> {
  const wanted = {
    spec: {
      intervals: [{ every: schedule.everyMs, offset: schedule.offsetMs }],
      jitter: jitterMs,
    },
    action: {
      type: 'startWorkflow' as const,
      workflowType: schedule.workflowType,
      workflowId: maintenanceWorkflowId(schedule.name),
      taskQueue: mainTaskQueue,
      args: [...schedule.args],
    },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: catchupWindowMs },
  };
  try {
    await client.schedule.create({ scheduleId: maintenanceWorkflowId(schedule.name), ...wanted });
    return 'created';
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
  const handle = client.schedule.getHandle(maintenanceWorkflowId(schedule.name));
  if (isDeepStrictEqual(wordsOf(await handle.describe()), wordsOf(wanted))) return 'none';
  await handle.update(({ state }) => ({ ...wanted, state }));
  return 'changed';
}

/** What of a Schedule is ours to say, in one form for what is wanted and what is there. */
function wordsOf({
  spec,
  action,
  policies,
}: {
  readonly spec: Pick<ScheduleDescription['spec'], 'intervals' | 'jitter'>;
  readonly action: {
    readonly workflowType: string;
    readonly workflowId: string;
    readonly taskQueue: string;
    readonly args?: unknown;
  };
  readonly policies: Pick<ScheduleDescription['policies'], 'overlap' | 'catchupWindow'>;
}) {
  const { workflowType, workflowId, taskQueue, args } = action;
  return {
    intervals: spec.intervals,
    jitter: spec.jitter,
    action: { workflowType, workflowId, taskQueue, args: args ?? [] },
    overlap: policies.overlap,
    catchupWindow: policies.catchupWindow,
  };
}
