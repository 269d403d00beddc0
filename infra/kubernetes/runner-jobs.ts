import { z } from 'zod';
import { components, labels, managedBy } from '../../domain/kubernetes/labels.js';
import { reasonOf } from './api-errors.js';
import type { Cluster } from './cluster.js';

const pageSize = 500;
/** Of Jobs that are looked at: more are left to the next cycle. */
const mostJobs = 20_000;

const jobSchema = z.object({
  metadata: z.object({
    name: z.string(),
    creationTimestamp: z.coerce.date(),
    deletionTimestamp: z.unknown().optional(),
  }),
});

/** A Job that AgentRun has made for a runner and that nobody has deleted yet. */
export interface RunnerJob {
  readonly name: string;
  readonly createdAtMs: number;
}

/** Which of them count. */
export interface RunnerJobFilter {
  readonly jobNamePrefixes: readonly string[];
  readonly matchLabels: Readonly<Record<string, string>>;
}

/** The runners' Jobs of the namespace: those with our own labels, the labels asked for, and a name that begins as asked for. */
export async function listRunnerJobs(
  { batch, namespace }: Pick<Cluster, 'batch' | 'namespace'>,
  { jobNamePrefixes, matchLabels }: RunnerJobFilter,
): Promise<RunnerJob[]> {
  const wanted = { ...matchLabels, [labels.managedBy]: managedBy, [labels.component]: components.runner };
  const labelSelector = Object.entries(wanted)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const jobs: RunnerJob[] = [];
  let next: string | undefined;
  do {
    const page = await batch
      .listNamespacedJob({
        namespace,
        labelSelector,
        limit: pageSize,
        ...(next === undefined ? {} : { _continue: next }),
      })
      .catch((error: unknown) => {
        throw new Error(`listing the Jobs of runners in ${namespace} failed: ${reasonOf(error)}`);
      });
    for (const { metadata } of z.array(jobSchema).parse(page.items)) {
      const counts = jobNamePrefixes.some((prefix) => metadata.name.startsWith(prefix));
      if (counts && metadata.deletionTimestamp === undefined)
        jobs.push({ name: metadata.name, createdAtMs: metadata.creationTimestamp.getTime() });
    }
    next = page.metadata?._continue === '' ? undefined : page.metadata?._continue;
  } while (next !== undefined && jobs.length < mostJobs);
  return jobs;
}
