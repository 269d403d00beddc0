import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import { useCluster } from '../support/cluster.js';
import { createSession, eventually } from '../support/local-stack.js';
import { type PodStack, podProviderKey } from '../support/pod-stack.js';
import { stackProcess } from '../support/runner-processes.js';
import { release } from '../support/scripted-control.js';
import {
  attemptBegins,
  endOfTurn,
  goesOnInNewPod,
  heldAfterFile,
  onlyWarmIsLeft,
  podOfSession,
  runShell,
} from './support/pod-turn.js';
import { prepareStackMs, startTestPodStack } from './support/test-pod-stack.js';

/** Turns of a real Codex in real pods that lose their runner in the middle: they end completed, in a new pod, with their thread and files. */
const cluster = await useCluster();
let pods: PodStack;

beforeAll(async () => {
  pods = await startTestPodStack(cluster, 'faults');
}, prepareStackMs);
afterAll(async () => {
  await pods?.stop();
});

/** What Kubernetes knows is acted on at once, and not when the lease of 60 s is over. */
const atOnceMs = 20_000;

/** Pid of the supervisor in a pod of a cluster on this machine, which is known by its host name. */
function supervisorOn(podName: string): number {
  const found = readdirSync('/proc').find((pid) => {
    try {
      const isSupervisor = readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(
        `node\0${podLayout.programs.supervisor}`,
      );
      return isSupervisor && readFileSync(`/proc/${pid}/root/etc/hostname`, 'utf8').trim() === podName;
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error(`${podName} has no supervisor here`);
  return Number(found);
}

describe('a turn in a pod', () => {
  it('goes on in a new pod when its pod is deleted', async () => {
    const held = await heldAfterFile(pods, 'deleted');
    const { core, namespace } = pods.cluster;
    await core.deleteNamespacedPod({ namespace, name: held.pod.name, gracePeriodSeconds: 0 });
    await attemptBegins(pods, held.runId, 2, atOnceMs);
    // As with an eviction: somebody has taken the pod away.
    await goesOnInNewPod(pods, held, ['runner-evicted', null]);
  });

  it.runIf(cluster.own !== undefined).each([
    ['supervisor', 'runner-lost'],
    // The supervisor saw that its agent had gone.
    ['agent-host', 'agent-error'],
  ])('goes on in a new pod when its container %s is killed', async (container, lost) => {
    const held = await heldAfterFile(pods, `killed-${container}`);
    const pod = { namespace: pods.cluster.namespace, name: held.pod.name };
    expect(await cluster.own?.killContainers(pod, [container])).toHaveLength(1);
    await attemptBegins(pods, held.runId, 2, atOnceMs);
    await goesOnInNewPod(pods, held, [lost, null]);
  });

  it('completes in the same pod when its worker is killed', async () => {
    const held = await heldAfterFile(pods, 'worker');
    process.kill(stackProcess(pods.local.dataDir, 'worker').pid, 'SIGKILL');
    await release(pods.local, 'worker');
    const end = await endOfTurn(pods, held.sessionId, held.runId);
    expect(end).toMatchObject({ status: 'completed', attempts: [null], threadId: held.threadId });
    expect((await podOfSession(pods.cluster, held.sessionId)).name).toBe(held.pod.name);
  });

  it.runIf(cluster.own !== undefined)(
    'goes on in a new pod when its supervisor does not answer any more',
    async () => {
      const held = await heldAfterFile(pods, 'frozen');
      process.kill(supervisorOn(held.pod.name), 'SIGSTOP');
      // Three probes of 30 s, and the pod's own grace for ending.
      await attemptBegins(pods, held.runId, 2, 200_000);
      await goesOnInNewPod(pods, held, ['runner-unhealthy', null]);
    },
  );

  it('takes a tool that is killed for its memory as a failed command', async () => {
    const sessionId = await createSession(pods.local);
    const { exitCode } = await runShell(
      pods.local,
      sessionId,
      `node -e 'const kept = []; for (;;) kept.push(Buffer.alloc(20_000_000, 1))'`,
    );
    expect(exitCode).not.toBe(0);
    expect((await podOfSession(pods.cluster, sessionId)).phase).toBe('Running');
  });

  it('is tried again when the agent itself is killed for memory', async () => {
    const sessionId = await createSession(pods.local);
    const { runId } = await runShell(
      pods.local,
      sessionId,
      // Many small processes, so that the largest is the agent; only the first time.
      `[ -e once ] && exit 0; touch once
for i in $(seq 60); do head -c 12000000 /dev/zero | tail -c 12000000 | sleep 60 & done; sleep 60`,
    );
    const end = await endOfTurn(pods, sessionId, runId);
    expect(end).toMatchObject({ status: 'completed', attempts: ['runner-oom-killed', null] });
    await onlyWarmIsLeft(pods, sessionId);
  });
});

describe('the agent of a pod', () => {
  it('finds no key and no token, and nothing of the supervisor but its health', async () => {
    const sessionId = await createSession(pods.local);
    const [first, second] = [podProviderKey.slice(0, 9), podProviderKey.slice(9)];
    const { output } = await runShell(
      pods.local,
      sessionId,
      `printf '%s%s' '${first}' '${second}' > /tmp/key
grep -rlsaf /tmp/key /proc/*/environ /proc/*/cmdline /session && echo FOUND-KEY
ls /var/run/secrets/kubernetes.io /launch /provider /prepare /session/supervisor 2>/dev/null && echo FOUND-SECRETS
touch /app/x /etc/x 2>/dev/null && echo FOUND-WRITABLE-ROOT
ask() { node -e 'fetch(process.argv[1]).then((a) => console.log(process.argv[1], a.status), () => console.log(process.argv[1], "refused"))' "$1"; }
ask http://127.0.0.1:8181/healthz; ask http://127.0.0.1:8181/launch; ask http://127.0.0.1:8181/metrics
id -u; echo ended`,
    );
    expect(output).not.toContain('FOUND');
    expect(output).toContain('http://127.0.0.1:8181/healthz 200');
    expect(output).toContain('http://127.0.0.1:8181/launch 404');
    expect(output).toContain('http://127.0.0.1:8181/metrics 404');
    expect(output).toMatch(/10001\s+ended/);
  });
});

describe('a quota without room', () => {
  it('is waited for and named, and the turn begins when there is room', async () => {
    const { cluster: inNamespace, local } = pods;
    const { core, namespace } = inNamespace;
    const quota = { metadata: { name: 'no-room' }, spec: { hard: { pods: '0' } } };
    await core.createNamespacedResourceQuota({ namespace, body: quota });
    const sessionId = await createSession(local);
    const done = runShell(local, sessionId, 'echo had room');
    try {
      await eventually('the quota is named', async () => {
        const { rows } = await local.db.query<{ pod_message: string | null }>(
          'select j.pod_message from runner_jobs j join runs r using (run_id) where r.session_id = $1',
          [sessionId],
        );
        return rows.some((row) => row.pod_message?.includes('quota') === true) ? true : undefined;
      });
    } finally {
      await core.deleteNamespacedResourceQuota({ namespace, name: 'no-room' });
    }
    expect((await done).output.trim()).toBe('had room');
  });
});
