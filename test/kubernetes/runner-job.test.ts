import type { IncomingMessage } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { jobManifest } from '../../domain/kubernetes/job-manifest.js';
import { launchSecretManifest } from '../../domain/kubernetes/launch-secret.js';
import { defaultPodOptions } from '../../domain/kubernetes/pod-options.js';
import { volumeClaimManifest } from '../../domain/kubernetes/volume-claim.js';
import type { Cluster } from '../../infra/kubernetes/cluster.js';
import { parsePodOptions } from '../../infra/kubernetes/pod-options.js';
import { changed } from '../support/changed.js';
import { useCluster } from '../support/cluster.js';
import { jobInput } from '../support/job-input.js';
import { forever, healthy, makeRunnerNeeds, startShellRunner } from './support/shell-runner.js';

const restricted = {
  'pod-security.kubernetes.io/enforce': 'restricted',
  'pod-security.kubernetes.io/enforce-version': 'latest',
};
const everyOption = parsePodOptions(
  `
nodeSelector: { example.com/pool: agents }
tolerations: [{ key: agents, value: "yes", effect: NoExecute, tolerationSeconds: 30 }, { key: spot, operator: Exists }]
topologySpread: [{ maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway }]
imagePullSecrets: [registry.example]
kueueQueue: agents
labels: { team: a }
annotations: { example.com/note: anything at all }
`,
  'every option',
)('codex');

const testCluster = await useCluster();

describe('the API server, in a namespace for restricted pods with a quota for everything', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await testCluster.makeNamespace('runner-job', restricted);
    const { core, namespace } = cluster;
    const amounts = ['cpu', 'memory', 'ephemeral-storage'];
    const hard = Object.fromEntries(
      amounts.flatMap((one) => [
        [`requests.${one}`, '100G'],
        [`limits.${one}`, '100G'],
      ]),
    );
    await core.createNamespacedResourceQuota({
      namespace,
      body: { metadata: { name: 'all' }, spec: { hard } },
    });
    await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'runner' } } });
    // A quota refuses everything until it has been counted once.
    for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(200)) {
      const { status } = await core.readNamespacedResourceQuota({ namespace, name: 'all' });
      if (status?.hard !== undefined) return;
    }
    throw new Error('the quota was not counted within 20 s');
  });

  /** The pod of a Job as the Job controller makes it. */
  const tryPod = (template: unknown) =>
    tryObject(cluster, 'api/v1/pods', changed(template, ['metadata', 'name'], 'one'));

  it.each([
    ['the defaults', defaultPodOptions],
    ['every option', everyOption],
  ])('takes Job, pod, Secret and claim with %s, and knows every field', async (_, pod) => {
    const { namespace } = cluster;
    const manifest = jobManifest(jobInput({ namespace, serviceAccount: 'runner', pod }));
    await tryObject(cluster, 'apis/batch/v1/jobs', manifest);
    await tryPod(manifest.spec.template);
    const secret = { name: 'a', namespace, labels: {}, launch: '{}', prepare: '{}' };
    await tryObject(cluster, 'api/v1/secrets', launchSecretManifest(secret));
    const claim = volumeClaimManifest({
      name: 'c',
      namespace,
      sessionId: `A.${'s'.repeat(126)}`,
      generation: 'g1',
      className: undefined,
      size: '10Gi',
      accessMode: 'ReadWriteOncePod',
    });
    await tryObject(cluster, 'api/v1/persistentvolumeclaims', claim);
  });

  const prepare = ['spec', 'initContainers', 0] as const;
  it.each([
    {
      what: 'no limit of memory in prepare',
      path: [...prepare, 'resources', 'limits', 'memory'],
      value: undefined,
      words: /must specify limits\.memory/,
    },
    {
      what: 'privileges',
      path: [...prepare, 'securityContext', 'privileged'],
      value: true,
      words: /privileged/,
    },
    {
      what: 'a field that Kubernetes does not know',
      path: ['spec', 'restartPolcy'],
      value: 'Never',
      words: /unknown field/,
    },
  ])('refuses the same pod with $what', async ({ path, value, words }) => {
    const manifest = jobManifest(jobInput({ namespace: cluster.namespace, serviceAccount: 'runner' }));
    await expect(tryPod(changed(manifest.spec.template, path, value))).rejects.toThrow(words);
  });
});

/**
 * Asks the API server to check an object and keep nothing. Sent as it is: the client's classes would leave out a field that they do not know before
 * anybody could refuse it.
 */
async function tryObject({ config, namespace }: Cluster, kind: string, body: unknown): Promise<void> {
  const [, group, resource] = /^(.*)\/(\w+)$/.exec(kind) ?? [];
  const path = `/${group}/namespaces/${namespace}/${resource}?dryRun=All&fieldValidation=Strict`;
  const options: RequestOptions = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    signal: AbortSignal.timeout(20_000),
  };
  await config.applyToHTTPSOptions(options);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request(`${config.getCurrentCluster()?.server}${path}`, options, resolve)
      .once('error', reject)
      .end(JSON.stringify(body));
  });
  const answer = await text(response);
  if (response.statusCode !== 201) throw new Error(answer);
}

/** What a hostile program would try first. Each line of the answer is a name and what it found. */
const look = `
say() { echo "look $1=$2"; }
can() { if touch "$2" 2>/dev/null; then say "$1" writes; elif [ -e "$2" ] || [ -e "$(dirname "$2")" ]; then say "$1" reads; else say "$1" none; fi; }
say user "$(id -u):$(id -g)"
say capabilities "$(sed -n 's/^CapBnd:[^0-9a-f]*//p' /proc/self/status)"
say privileges "$(sed -n 's/^NoNewPrivs:[^0-9]*//p' /proc/self/status)"
say seccomp "$(sed -n 's/^Seccomp:[^0-9]*//p' /proc/self/status)"
say strangers "$(cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c ^AGENTRUN_LAUNCH_FILE)"
say root "$(sed -n 's|^[^ ]* / [^ ]* \\(r[ow]\\),.*|\\1|p' /proc/mounts)"
can token /var/run/secrets/kubernetes.io/serviceaccount/token
can launch /launch/launch.json
can prepare /prepare/prepare.json
can key /provider/key
can agent /session/agent/file
can supervisor /session/supervisor/file
can socket /run/agentrun/file
can tmp /tmp/file
can home /home/agentrun/file
echo look-done
`;

describe('a runner on a node', () => {
  it('has in each container exactly what it needs', async () => {
    const cluster = await testCluster.makeNamespace('runner-job', restricted);
    const name = 'agentrun-look-1';
    await makeRunnerNeeds(cluster, [name]);
    await startShellRunner(cluster, name, {
      prepare: look,
      // Not before the supervisor is there to be spied on.
      agentHost: `while [ ! -e /run/agentrun/supervisor ]; do sleep 0.2; done\n${look}\n${forever}`,
      supervisor: `${healthy}; touch /run/agentrun/supervisor\n${look}\n${forever}`,
    });
    const pod = await podOf(cluster, name);
    const seen = async (container: string) => lookOf(await logOf(cluster, pod, container));
    const everywhere = {
      user: '10001:10001',
      capabilities: '0000000000000000',
      privileges: '1',
      seccomp: '2',
      root: 'ro',
      token: 'none',
      agent: 'writes',
      tmp: 'writes',
      home: 'writes',
    };
    // Not even the folders.
    const nothing = { launch: 'none', prepare: 'none', key: 'none', supervisor: 'none', socket: 'none' };
    expect(await seen('supervisor')).toEqual({
      ...everywhere,
      launch: 'reads',
      prepare: 'none',
      key: 'reads',
      supervisor: 'writes',
      socket: 'writes',
      strangers: expect.stringMatching(/^[1-9]/),
    });
    expect(await seen('prepare')).toEqual({ ...everywhere, ...nothing, prepare: 'reads', strangers: '0' });
    expect(await seen('agent-host')).toEqual({ ...everywhere, ...nothing, socket: 'writes', strangers: '0' });
  });
});

/** The words of {@link look}. */
const lookOf = (log: string): Record<string, string> =>
  Object.fromEntries(
    [...log.matchAll(/^look (\w+)=(.*)$/gm)].map(([, name = '', found = '']) => [name, found]),
  );

async function podOf({ core, namespace }: Cluster, job: string): Promise<string> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(300)) {
    const { items } = await core.listNamespacedPod({
      namespace,
      labelSelector: `batch.kubernetes.io/job-name=${job}`,
    });
    const name = items[0]?.metadata?.name;
    if (name !== undefined) return name;
  }
  throw new Error(`${job} has no pod within 60 s`);
}

/** The log of a container, once it has said all. */
async function logOf({ core, namespace }: Cluster, name: string, container: string): Promise<string> {
  let said = '';
  for (const deadline = Date.now() + 90_000; Date.now() < deadline; await sleep(500)) {
    said = await core
      .readNamespacedPodLog({ namespace, name, container })
      .catch((error: unknown) => String(error));
    if (said.includes('look-done')) return said;
  }
  throw new Error(`${container} has not said all within 90 s: ${said}`);
}
