import type { Check, CheckFinding } from '../../contract/doctor.js';
import type { ResolvedBase } from '../config/base-urls.js';
import type { KubernetesSettings } from '../config/kubernetes-settings.js';
import { type Cluster, connectCluster } from '../kubernetes/cluster.js';
import { readPodOptions } from '../kubernetes/pod-options.js';
import { type ProbeEnd, runProbe } from './probe-pod.js';

/** A pod of an image that the node has starts within 3 s; one that has to be pulled first is said to be late. */
const probeLimitMs = 9_000;
/** With the Job's creation and removal. */
const checkLimitMs = 12_000;

const imageCheck = 'runner image';
const imageCure =
  'correct AGENTRUN_RUNNER_IMAGE, or give runners what the registry asks for (imagePullSecrets in the file of AGENTRUN_RUNNER_POD_FILE)';

/** Any will do: what pods of profiles have of their own is not looked at. */
const someProfile = 'codex';
const podFileCheck = 'pods of runners';

/** Whether a pod like a runner's starts, has the provider's key, and reaches the API: one short Job, of which all three tell. */
export function probeChecks(options: {
  readonly settings: KubernetesSettings;
  readonly base: ResolvedBase;
  readonly connect?: (settings: KubernetesSettings) => Cluster;
}): Check[] {
  const { settings, base, connect = connectCluster } = options;
  const pod = () => readPodOptions(settings.podFile)(someProfile);
  let running: Promise<ProbeEnd> | undefined;
  const end = (): Promise<ProbeEnd> => {
    running ??= runProbe(connect(settings), {
      settings,
      pod: pod(),
      apiUrl: base.url,
      limitMs: probeLimitMs,
    });
    return running;
  };
  return [
    {
      name: podFileCheck,
      variable: 'AGENTRUN_RUNNER_POD_FILE',
      cure: 'correct the file that AGENTRUN_RUNNER_POD_FILE names',
      look: () => {
        pod();
        const { podFile } = settings;
        return Promise.resolve({
          ok: true,
          message: podFile === undefined ? 'as by default' : `as ${podFile} says`,
        });
      },
    },
    {
      name: imageCheck,
      needs: 'cluster rights',
      variable: 'AGENTRUN_RUNNER_IMAGE',
      cure: imageCure,
      limitMs: checkLimitMs,
      look: async () => imageFinding(await end(), settings),
    },
    {
      name: 'provider key of runners',
      needs: imageCheck,
      variable: 'AGENTRUN_PROVIDER_SECRET',
      cure: 'correct AGENTRUN_PROVIDER_SECRET',
      limitMs: checkLimitMs,
      look: async () => keyFinding(await end(), settings),
    },
    {
      name: 'API from a pod',
      needs: imageCheck,
      variable: base.variable,
      cure: `correct ${base.variable}`,
      limitMs: checkLimitMs,
      look: async () => addressFinding(await end(), base),
    },
  ];
}

function imageFinding(end: ProbeEnd, { image, namespace }: KubernetesSettings): CheckFinding {
  const started = { ok: true, message: `a pod of ${image} starts` } as const;
  switch (end.kind) {
    case 'ran':
      return end.programs
        ? started
        : { ok: false, message: `${image} starts, and is not the image of runners`, cure: imageCure };
    // The image was there before the volume was asked for.
    case 'mount':
      return started;
    case 'image':
      return { ok: false, message: `the image cannot be had: ${end.message}`, cure: imageCure };
    case 'refused':
      return {
        ok: false,
        message: `the cluster refuses the pod of a runner: ${end.message}`,
        cure: `raise the quota of namespace ${namespace}, or correct its admission policies or the file of AGENTRUN_RUNNER_POD_FILE`,
        variable: 'AGENTRUN_RUNNER_POD_FILE',
      };
    case 'broken':
      return { ok: false, message: `a pod of ${image} cannot start: ${end.message}`, cure: imageCure };
    case 'late':
      return {
        ok: false,
        severity: 'warning',
        message: `a pod of ${image} did not end within ${probeLimitMs} ms: ${end.message}`,
        cure: `ask again when the image was pulled; see kubectl get events -n ${namespace}`,
      };
  }
}

function keyFinding(end: ProbeEnd, settings: KubernetesSettings): CheckFinding {
  const { namespace, providerSecret } = settings;
  const cure = `kubectl create secret generic ${providerSecret} -n ${namespace} --from-file=key=FILE, or correct AGENTRUN_PROVIDER_SECRET`;
  if (end.kind === 'mount') return { ok: false, message: `the key cannot be mounted: ${end.message}`, cure };
  if (end.kind !== 'ran') return notSeen('runner image');
  if (end.key === 'ok') return { ok: true, message: `is in the Secret ${providerSecret}` };
  return { ok: false, message: `the key in the Secret ${providerSecret} cannot be used: ${end.key}`, cure };
}

function addressFinding(end: ProbeEnd, { url, variable }: ResolvedBase): CheckFinding {
  if (end.kind !== 'ran') return notSeen('provider key of runners');
  if (end.api === 'HTTP 200') return { ok: true, message: `a pod reaches ${url}` };
  return {
    ok: false,
    message: `a pod does not reach the API at ${url}: ${end.api}`,
    cure: `correct ${variable}: an address of the API that pods reach, and that the network policies allow`,
  };
}

const notSeen = (first: string): CheckFinding => ({
  ok: false,
  severity: 'skipped',
  message: `not looked at: ${first} comes first`,
  cure: 'see there',
});
