import { type JobInput, jobManifest } from './job-manifest.js';
import { components, labels, managedBy } from './labels.js';
import type { JobManifest, MainContainer, PodSpec } from './manifest-types.js';
import { podLayout } from './pod-layout.js';

const { paths, programs } = podLayout;

/** It reads a file and asks an address; a node that is slow to start it is a finding. */
const lifeSeconds = 60;

type ProbeContainer = Omit<MainContainer, 'ports' | 'startupProbe' | 'readinessProbe' | 'livenessProbe'>;

/** A Job of one container that says how a runner would find things, and ends. */
export interface ProbeManifest extends Omit<JobManifest, 'spec'> {
  readonly spec: Omit<JobManifest['spec'], 'template' | 'podFailurePolicy'> & {
    readonly ttlSecondsAfterFinished: number;
    readonly template: {
      readonly metadata: JobManifest['spec']['template']['metadata'];
      readonly spec: Omit<PodSpec, 'initContainers' | 'containers'> & {
        readonly initContainers: [];
        readonly containers: [ProbeContainer];
      };
    };
  };
}

/** What the probe writes as its termination message: error codes or HTTP statuses, never content. */
const probeProgram = `
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { env } = process;
const said = { programs: env.PROBE_PROGRAMS.split(' ').every((file) => existsSync(file)), key: 'ok', api: '' };
try { if (readFileSync(env.PROBE_KEY, 'utf8').trim() === '') said.key = 'empty'; } catch (error) { said.key = error.code; }
fetch(env.PROBE_URL, { redirect: 'manual', signal: AbortSignal.timeout(4000) })
  .then((answer) => { said.api = 'HTTP ' + answer.status; }, (error) => { said.api = error.cause?.message || error.message; })
  .then(() => { writeFileSync(env.PROBE_SAYS, JSON.stringify(said)); process.exit(0); });
`;

/**
 * A runner's Job cut down to its main container, with the provider's key and without everything of a session. Placement, image and security are a
 * runner's. Its pod has a runner's label too, since that is what network policies look for; the Job has not, so that nobody counts it as a runner.
 *
 * @param apiUrl where runners reach the API.
 */
export function probeManifest(
  input: Omit<JobInput, 'volumeClaim' | 'runId' | 'epoch' | 'sessionId' | 'tenantId' | 'lifeMs'>,
  apiUrl: string,
): ProbeManifest {
  const none = { volumeClaim: 'none', runId: 'none', sessionId: 'none', tenantId: 'none' };
  const job = jobManifest({ ...input, ...none, epoch: 1, lifeMs: lifeSeconds * 1_000 });
  const { spec } = job;
  const pod = spec.template.spec;
  const [supervisor] = pod.containers;
  const mounts = supervisor.volumeMounts.filter(({ mountPath }) =>
    paths.providerKeyFile.startsWith(`${mountPath}/`),
  );
  const own = { [labels.managedBy]: managedBy };
  return {
    ...job,
    metadata: {
      ...job.metadata,
      labels: { ...input.pod.labels, ...own, [labels.component]: components.doctor },
      annotations: { ...input.pod.annotations },
    },
    spec: {
      completions: spec.completions,
      parallelism: spec.parallelism,
      backoffLimit: spec.backoffLimit,
      activeDeadlineSeconds: spec.activeDeadlineSeconds,
      podReplacementPolicy: spec.podReplacementPolicy,
      // A queue may let it wait for hours.
      suspend: false,
      ttlSecondsAfterFinished: lifeSeconds,
      template: {
        metadata: {
          labels: { ...input.pod.labels, ...own, [labels.component]: components.runner },
          annotations: { ...input.pod.annotations },
        },
        spec: {
          ...pod,
          initContainers: [],
          containers: [
            {
              name: 'probe',
              image: supervisor.image,
              imagePullPolicy: supervisor.imagePullPolicy,
              resources: supervisor.resources,
              securityContext: supervisor.securityContext,
              terminationMessagePath: supervisor.terminationMessagePath,
              terminationMessagePolicy: supervisor.terminationMessagePolicy,
              args: ['node', '-e', probeProgram],
              env: [
                { name: 'PROBE_PROGRAMS', value: Object.values(programs).join(' ') },
                { name: 'PROBE_KEY', value: paths.providerKeyFile },
                { name: 'PROBE_URL', value: `${apiUrl}/health/live` },
                { name: 'PROBE_SAYS', value: paths.terminationLog },
              ],
              volumeMounts: mounts,
            },
          ],
          volumes: pod.volumes.filter(({ name }) => mounts.some((mount) => mount.name === name)),
        },
      },
    },
  };
}
