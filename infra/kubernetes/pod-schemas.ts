import { z } from 'zod';
import type { ContainerFacts, JobState, ObjectEvent, PodState } from '../../domain/kubernetes/pod-facts.js';

// The part of Kubernetes' objects that the fate of a runner is told from; everything else is dropped as it arrives.

/** Of a text that the cluster wrote. */
const longestText = 2_000;

const text = z
  .string()
  .nullish()
  .transform((value) => (value ?? '').slice(0, longestText));
/** Milliseconds; a time that is absent or no time is null. */
const time = z
  .string()
  .nullish()
  .transform((value) => {
    const ms = Date.parse(value ?? '');
    return Number.isNaN(ms) ? null : ms;
  });

const conditionSchema = z.object({
  type: z.string(),
  status: z.string(),
  reason: text,
  message: text,
  lastTransitionTime: time,
});
const conditionsSchema = z
  .array(conditionSchema)
  .nullish()
  .transform((conditions) => conditions ?? []);
type Condition = z.output<typeof conditionSchema>;

const endSchema = z.object({ exitCode: z.number(), reason: text, message: text });
const containerSchema = z.object({
  name: z.string(),
  state: z
    .object({
      waiting: z.object({ reason: text, message: text }).nullish(),
      running: z.object({ startedAt: time }).nullish(),
      terminated: endSchema.nullish(),
    })
    .nullish(),
  lastState: z.object({ terminated: endSchema.nullish() }).nullish(),
});
const containersSchema = z
  .array(containerSchema)
  .nullish()
  .transform((containers) => containers ?? []);

const metadataSchema = z.object({
  name: z.string(),
  uid: z.string(),
  creationTimestamp: time,
  deletionTimestamp: time,
  labels: z.record(z.string(), z.string()).nullish(),
});

const podSchema = z.object({
  metadata: metadataSchema,
  spec: z.object({ nodeName: z.string().nullish() }),
  status: z.object({
    phase: text,
    reason: text,
    message: text,
    conditions: conditionsSchema,
    initContainerStatuses: containersSchema,
    containerStatuses: containersSchema,
  }),
});

/** A pod with the Job that made it. Undefined: it is not of a Job. */
export function parsePod(object: unknown): { readonly jobName: string; readonly pod: PodState } | undefined {
  const parsed = podSchema.safeParse(object);
  if (!parsed.success) return undefined;
  const { metadata, spec, status } = parsed.data;
  const jobName = metadata.labels?.['batch.kubernetes.io/job-name'];
  if (jobName === undefined) return undefined;
  const createdAtMs = metadata.creationTimestamp ?? 0;
  const scheduled = conditionOf(status.conditions, 'PodScheduled');
  const disruption = conditionOf(status.conditions, 'DisruptionTarget');
  return {
    jobName,
    pod: {
      name: metadata.name,
      uid: metadata.uid,
      phase: status.phase,
      reason: status.reason,
      message: status.message,
      createdAtMs,
      isDeleting: metadata.deletionTimestamp !== null,
      nodeName: spec.nodeName ?? null,
      scheduled:
        scheduled === undefined
          ? null
          : {
              isDone: scheduled.status === 'True',
              sinceMs: scheduled.lastTransitionTime ?? createdAtMs,
              message: scheduled.message,
            },
      disruption:
        disruption?.status === 'True' ? { reason: disruption.reason, message: disruption.message } : null,
      containers: [...status.initContainerStatuses, ...status.containerStatuses].map(containerFacts),
    },
  };
}

function containerFacts({ name, state, lastState }: z.output<typeof containerSchema>): ContainerFacts {
  const isRunning = state?.running != null;
  const ended = state?.terminated ?? null;
  return {
    name,
    // A container of which nothing is known yet waits.
    waiting: state?.waiting ?? (isRunning || ended !== null ? null : { reason: '', message: '' }),
    runningSinceMs: isRunning ? (state.running?.startedAt ?? 0) : null,
    ended,
    endedBefore: lastState?.terminated ?? null,
  };
}

const jobSchema = z.object({
  metadata: metadataSchema,
  spec: z.object({ suspend: z.boolean().nullish() }).nullish(),
  status: z.object({ conditions: conditionsSchema }).nullish(),
});

/** Undefined: it is none. */
export function parseJob(object: unknown): { readonly name: string; readonly job: JobState } | undefined {
  const parsed = jobSchema.safeParse(object);
  if (!parsed.success) return undefined;
  const { metadata, spec, status } = parsed.data;
  const conditions = status?.conditions ?? [];
  const failed = [conditionOf(conditions, 'Failed'), conditionOf(conditions, 'FailureTarget')].find(
    (condition) => condition?.status === 'True',
  );
  return {
    name: metadata.name,
    job: {
      uid: metadata.uid,
      createdAtMs: metadata.creationTimestamp ?? 0,
      isDeleting: metadata.deletionTimestamp !== null,
      isSuspended: spec?.suspend === true,
      failed: failed === undefined ? null : { reason: failed.reason, message: failed.message },
    },
  };
}

const eventSchema = z.object({
  metadata: z.object({ name: z.string() }),
  involvedObject: z.object({ kind: text, name: text, uid: text }),
  reason: text,
  message: text,
  firstTimestamp: time,
  lastTimestamp: time,
  eventTime: time,
  series: z.object({ lastObservedTime: time }).nullish(),
});

/** An event about a Job or a pod, with whose it is. Undefined: it is about something else. */
export function parseEvent(
  object: unknown,
): { readonly name: string; readonly objectUid: string; readonly event: ObjectEvent } | undefined {
  const parsed = eventSchema.safeParse(object);
  if (!parsed.success) return undefined;
  const { involvedObject, metadata, reason, message, ...times } = parsed.data;
  const { kind, uid } = involvedObject;
  if (kind !== 'Pod' && kind !== 'Job') return undefined;
  const firstAtMs = times.firstTimestamp ?? times.eventTime ?? 0;
  const lastAtMs = times.series?.lastObservedTime ?? times.lastTimestamp ?? firstAtMs;
  const about = kind === 'Pod' ? 'pod' : 'job';
  return { name: metadata.name, objectUid: uid, event: { about, reason, message, firstAtMs, lastAtMs } };
}

const nodeSchema = z.object({
  metadata: z.object({ name: z.string() }),
  status: z.object({ conditions: conditionsSchema }).nullish(),
});

/** Undefined: it is none. */
export function parseNode(object: unknown): { readonly name: string; readonly isReady: boolean } | undefined {
  const parsed = nodeSchema.safeParse(object);
  if (!parsed.success) return undefined;
  const ready = conditionOf(parsed.data.status?.conditions ?? [], 'Ready');
  return { name: parsed.data.metadata.name, isReady: ready?.status === 'True' };
}

const conditionOf = (conditions: readonly Condition[], type: string): Condition | undefined =>
  conditions.find((condition) => condition.type === type);
