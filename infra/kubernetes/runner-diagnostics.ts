import { type JsonObject, jsonObjectSchema } from '../../contract/json.js';
import type { PodFacts, PodState } from '../../domain/kubernetes/pod-facts.js';
import { createRedactor } from '../telemetry/redaction.js';
import type { Cluster } from './cluster.js';
import type { PodWatch } from './pod-watch.js';

const mostEvents = 20;
const lastLines = 60;
/** Of one container's log; its end is kept. */
const longestLog = 8_000;
const readBytes = 128_000;

/**
 * What the cluster still knows of a runner, for whoever looks for a cause when its Job is deleted: Job, pod, node, the last events and the end of each
 * container's log. Bounded, and without what looks like a credential. Undefined: nothing is left. What cannot be had is left out.
 */
export async function collectDiagnostics(
  cluster: Cluster,
  watch: PodWatch,
  jobName: string,
): Promise<JsonObject | undefined> {
  const facts = await watch.facts(jobName);
  if (facts === undefined || (facts.job === null && facts.pod === null)) return undefined;
  const logs = facts.pod === null ? {} : await logsOf(cluster, facts.pod);
  const redacted = createRedactor().json(
    jsonObjectSchema.parse(
      JSON.parse(
        JSON.stringify({
          job: facts.job,
          pod: facts.pod,
          node: facts.node,
          events: eventsOf(facts),
          logs,
        }),
      ),
    ),
  );
  return jsonObjectSchema.parse(redacted);
}

const eventsOf = ({ events }: PodFacts) =>
  events.toSorted((one, other) => one.lastAtMs - other.lastAtMs).slice(-mostEvents);

async function logsOf(cluster: Cluster, pod: PodState): Promise<Record<string, string>> {
  const logs: Record<string, string> = {};
  for (const { name, waiting, endedBefore } of pod.containers) {
    const log = waiting === null ? await logOf(cluster, pod.name, name, false) : undefined;
    if (log !== undefined) logs[name] = log;
    const former = endedBefore === null ? undefined : await logOf(cluster, pod.name, name, true);
    if (former !== undefined) logs[`${name} (before it was started again)`] = former;
  }
  return logs;
}

/** Undefined: it cannot be read, for example because the node does not answer. */
async function logOf(
  { core, namespace }: Cluster,
  podName: string,
  container: string,
  previous: boolean,
): Promise<string | undefined> {
  try {
    const log = await core.readNamespacedPodLog({
      namespace,
      name: podName,
      container,
      previous,
      tailLines: lastLines,
      limitBytes: readBytes,
    });
    return log.slice(-longestLog);
  } catch {
    return undefined;
  }
}
