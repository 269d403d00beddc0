import type { V1Pod } from '@kubernetes/client-node';
import { expect } from 'vitest';
import { annotations, labels } from '../../../domain/kubernetes/labels.js';
import type { Cluster } from '../../../infra/kubernetes/cluster.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  type LocalStack,
  send,
} from '../../support/local-stack.js';
import type { PodStack } from '../../support/pod-stack.js';
import { atHold, release } from '../../support/scripted-control.js';

/** A pod has to be placed, started and asked before a turn begins. */
const startLimitMs = 60_000;
const endLimitMs = 120_000;

/** A prompt of which the agent runs a script by bash. */
export function shellPrompt(script: string): string {
  // Of a multiple of three bytes, so that the marker needs no padding.
  const padded = script.padEnd(
    Math.ceil(Buffer.byteLength(script) / 3) * 3 + script.length - Buffer.byteLength(script),
  );
  return `run this [[scenario:shell code=${Buffer.from(padded).toString('base64')}]]`;
}

/** Has the agent run a script, and answers what it printed and its exit code. */
export async function runShell(
  local: LocalStack,
  sessionId: string,
  script: string,
): Promise<{ readonly runId: string; readonly output: string; readonly exitCode: number | null }> {
  const { run } = await send(local, sessionId, shellPrompt(script));
  const { events, status } = await eventsToEnd(local, sessionId, run.id, undefined, endLimitMs);
  if (status !== 'completed') throw new Error(`the turn ended ${status}`);
  const ended = events.findLast(
    ({ type, payload }) => type === 'command_execution' && payload.status !== 'inProgress',
  );
  const { output, exitCode } = ended?.payload ?? {};
  return {
    runId: run.id,
    output: typeof output === 'string' ? output : '',
    exitCode: typeof exitCode === 'number' ? exitCode : null,
  };
}

/** A turn that runs in its pod and stops in the middle of an answer until the hold is released. */
export async function heldPodTurn({ local }: PodStack, sessionId: string, hold: string): Promise<string> {
  const { run } = await send(local, sessionId, `hold on [[scenario:hold name=${hold}]]`);
  await atHold(local, hold, startLimitMs);
  return run.id;
}

/** A pod of a session's runner. */
export interface SessionPod {
  readonly name: string;
  readonly phase: string | undefined;
}

/** The one that runs and is not being ended. */
export async function podOfSession(cluster: Cluster, sessionId: string): Promise<SessionPod> {
  return eventually('the session has a pod', async () => {
    const pods = await podsOfSession(cluster, sessionId);
    const pod = pods.find(
      ({ metadata, status }) => metadata?.deletionTimestamp === undefined && status?.phase === 'Running',
    );
    const name = pod?.metadata?.name;
    return name === undefined ? undefined : { name, phase: pod?.status?.phase };
  });
}

export async function podsOfSession(cluster: Cluster, sessionId: string): Promise<V1Pod[]> {
  const { items } = await cluster.core.listNamespacedPod({
    namespace: cluster.namespace,
    labelSelector: labels.run,
  });
  return items.filter(({ metadata }) => metadata?.annotations?.[annotations.session] === sessionId);
}

/** Waits until a run has begun its Nth attempt. */
export async function attemptBegins(
  { local }: PodStack,
  runId: string,
  epoch: number,
  limitMs: number,
): Promise<void> {
  await eventually(
    `attempt ${epoch} of ${runId} begins`,
    async () => {
      const { rows } = await local.db.query('select 1 from attempts where run_id = $1 and epoch = $2', [
        runId,
        epoch,
      ]);
      return rows.length > 0 ? true : undefined;
    },
    limitMs,
  );
}

/** How a turn ended, and how each of its attempts did. */
export interface PodTurnEnd {
  readonly status: string | null;
  readonly failureKind: string | null;
  readonly threadId: string | null;
  /** The failure kind of each attempt, in order; null: none. */
  readonly attempts: readonly (string | null)[];
}

export async function endOfTurn({ local }: PodStack, sessionId: string, runId: string): Promise<PodTurnEnd> {
  const { status } = await eventsToEnd(local, sessionId, runId, undefined, endLimitMs);
  const run = await getRun(local, runId);
  const { rows } = await local.db.query<{ failure_kind: string | null }>(
    'select end_failure_kind as failure_kind from attempts where run_id = $1 order by epoch',
    [runId],
  );
  return {
    status,
    failureKind: run.failureKind,
    threadId: run.threadId,
    attempts: rows.map((row) => row.failure_kind),
  };
}

/** Waits until of a session's runners there is at most the one that is warm: no Job, pod or launch Secret of an attempt that has ended. */
export async function onlyWarmIsLeft({ cluster, local }: PodStack, sessionId: string): Promise<void> {
  let left: string[] = [];
  await eventually(
    'nothing of ended attempts is left',
    async () => {
      const { rows } = await local.db.query<{ job_name: string }>(
        `select job_name from runners where session_id = $1 and state in ('serving', 'idle')`,
        [sessionId],
      );
      const warm = new Set(rows.map((row) => row.job_name));
      const [jobs, pods, { rows: all }] = await Promise.all([
        cluster.batch.listNamespacedJob({ namespace: cluster.namespace }),
        podsOfSession(cluster, sessionId),
        local.db.query<{ job_name: string }>('select job_name from runners where session_id = $1', [
          sessionId,
        ]),
      ]);
      const ours = new Set(all.map((row) => row.job_name));
      left = [
        ...jobs.items.map(({ metadata }) => metadata?.name ?? '').filter((name) => ours.has(name)),
        ...pods.map(({ metadata }) => metadata?.labels?.['batch.kubernetes.io/job-name'] ?? ''),
      ].filter((name) => !warm.has(name));
      return left.length === 0 ? true : undefined;
    },
    60_000,
    500,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${left.join(', ')}`);
  });
}

/** A turn in the middle, of a session whose agent has left a file in a turn before. */
export interface HeldTurn {
  readonly name: string;
  readonly sessionId: string;
  readonly runId: string;
  readonly threadId: string;
  readonly pod: SessionPod;
}

/** `name` must be new in the stack. */
export async function heldAfterFile(pods: PodStack, name: string): Promise<HeldTurn> {
  const sessionId = await createSession(pods.local);
  await runShell(pods.local, sessionId, `echo written-by-${name} > kept.txt`);
  const runId = await heldPodTurn(pods, sessionId, name);
  const pod = await podOfSession(pods.cluster, sessionId);
  const { threadId } = await getRun(pods.local, runId);
  if (threadId === null) throw new Error(`${runId} has no thread`);
  return { name, sessionId, runId, threadId, pod };
}

/** Lets a turn go on that has lost its runner, and looks at what its session has in the new pod: its thread and its files, and nothing of the old one. */
export async function goesOnInNewPod(
  pods: PodStack,
  held: HeldTurn,
  attempts: readonly (string | null)[],
): Promise<void> {
  const { name, sessionId, runId, threadId } = held;
  await release(pods.local, name);
  const end = await endOfTurn(pods, sessionId, runId);
  expect(end).toEqual({ status: 'completed', failureKind: null, threadId, attempts });
  const { output } = await runShell(pods.local, sessionId, 'cat kept.txt');
  expect(output.trim()).toBe(`written-by-${name}`);
  expect((await podOfSession(pods.cluster, sessionId)).name).not.toBe(held.pod.name);
  await onlyWarmIsLeft(pods, sessionId);
}
