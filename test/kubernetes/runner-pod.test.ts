import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import type { Cluster } from '../../infra/kubernetes/cluster.js';
import { FakeManager } from '../runner/support/fake-manager.js';
import { builtImages } from '../support/built-images.js';
import { useCluster } from '../support/cluster.js';
import { endOf, makeVolumeAndKey, podOf, type RealRunner, startRealRunner } from './support/real-runner.js';

const launchToken = 'launch-token-that-no-agent-may-see';
const providerKey = 'sk-the-key-that-no-agent-may-see';
const testCluster = await useCluster();

/** The runner's image in a real pod; the API is played by this test, the agent is a shell. */
describe('a runner in its pod', { timeout: 180_000 }, () => {
  let image: string;
  let cluster: Cluster;
  let manager: FakeManager;
  let count = 0;

  beforeAll(async () => {
    const { runner } = await builtImages();
    await testCluster.own?.importImage(runner.archive);
    image = runner.image;
  }, 1_200_000);

  beforeEach(async () => {
    cluster = await testCluster.makeNamespace('h4', { 'pod-security.kubernetes.io/enforce': 'restricted' });
    await makeVolumeAndKey(cluster, providerKey);
    manager = new FakeManager();
    await manager.listen(testCluster.hostAddress);
  });
  afterEach(() => manager.stop());

  async function start(
    line: string,
    options: Partial<RealRunner> = {},
  ): Promise<{ runId: string; name: string }> {
    const runId = manager.addRun(line, { backendProfile: 'command' });
    count += 1;
    const name = `runner-${count}`;
    const { url: managerUrl } = manager;
    await startRealRunner(cluster, { name, image, runId, managerUrl, launchToken, ...options });
    return { runId, name };
  }
  const output = async (runId: string): Promise<string> => {
    const event = await manager.event(runId, 'command_execution', ({ status }) => status !== 'inProgress');
    return z.string().parse(event.payload.output);
  };

  test('begins in a prepared workspace, is ready, serves turn after turn warm, tells its size, and closes with exit code 0', async () => {
    const { runId, name } = await start('pwd; git rev-list --count HEAD; id -u; echo kept > file');
    expect(await manager.outcome(runId, 120_000)).toMatchObject({ terminalStatus: 'completed' });
    expect((await output(runId)).split('\n')).toEqual([podLayout.paths.workspace, '1', '10001', '']);
    const told = await manager.until('its size', () => manager.storageTold[0]);
    expect(told.facts.storageFilesCount).toBeGreaterThan(0);
    await podOf(cluster, name, (pod) =>
      (pod.status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True'),
    );
    const next = manager.addRun('cat file', { backendProfile: 'command' });
    manager.handOver(next);
    await manager.outcome(next);
    expect(await output(next)).toBe('kept\n');
    manager.closeRunner();
    const pod = await podOf(cluster, name, ({ status }) => status?.phase === 'Succeeded');
    expect(endOf(pod, 'supervisor')).toMatchObject({ exitCode: 0 });
  });

  test('its agent finds no credential, no service account, and no way to the supervisor but the probes', async () => {
    // Written so that the command itself, which /proc shows, holds none of the words that are looked for.
    const look = `
      env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'
      grep -rIs -e 'launch-token[-]that' -e 'sk-the[-]key' -e 'run[-]token' /session /run /tmp /home /var/run /proc/*/environ && echo LEA''KED
      ls /var/run/secrets /launch /provider /prepare /session/supervisor 2>&1
      touch /app/x /x 2>&1
      node -e 'const ask = (path, method) => fetch("http://127.0.0.1:8181" + path, { method }).then((r) => r.text().then((t) => console.log("ASKED", method, path, r.status, t)));
        ask("/healthz", "GET").then(() => ask("/readyz", "GET")).then(() => ask("/launch/launch.json", "GET")).then(() => ask("/healthz", "POST"))'
      node -e 'require("net").createServer().on("error", (e) => console.log("SQUAT", e.code)).listen(8181)'`;
    const { runId } = await start(look);
    expect(await manager.outcome(runId, 120_000)).toMatchObject({ terminalStatus: 'completed' });
    const found = await output(runId);
    // A known secret would have been blanked on its way here.
    for (const word of ['LEAKED', '[redacted]', 'run-token', 'runner-token', 'Bearer'])
      expect(found).not.toContain(word);
    for (const folder of ['/var/run/secrets', '/launch', '/provider', '/prepare', '/session/supervisor'])
      expect(found).toContain(`cannot access '${folder}': No such file or directory`);
    expect(found).toContain("cannot touch '/app/x': Read-only file system");
    expect(found).toContain('ASKED GET /healthz 200 {"status":"ok","missing":[]}');
    expect(found).toContain('ASKED GET /readyz 200 {"status":"ok","missing":[]}');
    expect(found).toContain('ASKED GET /launch/launch.json 404');
    expect(found).toContain('ASKED POST /healthz 404');
    expect(found).toContain('SQUAT EADDRINUSE');
  });

  test('a workspace that no pod can have: prepare says so in its termination message, and no agent begins', async () => {
    const { name } = await start('true', { workspace: { path: '/home/somebody/project' } });
    const pod = await podOf(cluster, name, (one) => endOf(one, 'prepare') !== undefined);
    expect(endOf(pod, 'prepare')).toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(
        /^workspace\.path: \/home\/somebody\/project is a folder of one machine/,
      ),
    });
    expect(manager.registered).toEqual([]);
  });

  test('an API that refuses it: the supervisor says so in its termination message', async () => {
    manager.refusesLaunchToken = true;
    const { name } = await start('true');
    const pod = await podOf(cluster, name, (one) => endOf(one, 'supervisor') !== undefined);
    const end = endOf(pod, 'supervisor');
    expect(end?.exitCode).toBe(5);
    expect(end?.message).toMatch(/^the AgentRun API at .* refuses the launch token/);
    expect(end?.message).not.toContain(launchToken);
  });

  describe('over the memory limit of its agent', () => {
    const eat = `node -e 'const all = []; for (;;) all.push(Buffer.alloc(10_000_000, 1))'`;

    test('by the agent itself: the attempt ends as out of memory', async () => {
      const { runId } = await start(`exec ${eat}`, { agentMemory: '300Mi' });
      expect(await manager.outcome(runId, 120_000)).toMatchObject({ failureKind: 'runner-oom-killed' });
    });

    test('by a tool: only the tool fails, and the runner goes on', async () => {
      const { runId, name } = await start(`${eat}; echo "ended with $?"`, { agentMemory: '300Mi' });
      expect(await manager.outcome(runId, 120_000)).toMatchObject({ terminalStatus: 'completed' });
      expect(await output(runId)).toContain('ended with 137');
      const next = manager.addRun('echo still here', { backendProfile: 'command' });
      manager.handOver(next);
      await manager.outcome(next);
      expect(await output(next)).toBe('still here\n');
      manager.closeRunner();
      await podOf(cluster, name, ({ status }) => status?.phase === 'Succeeded');
    });
  });
});
