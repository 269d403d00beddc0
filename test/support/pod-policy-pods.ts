import type { Pod, PodCarrier, Volume } from './pod-carrier.js';
import type { PolicyRule } from './pod-policy.js';

/** A rule that a pod as a whole breaks; `of`: which part of it. */
interface PodFinding {
  readonly rule: PolicyRule;
  readonly of?: string;
}

/** What is wrong with the pod itself, its volumes and the Job that makes it. */
export function podRules(
  carrier: PodCarrier,
  pod: Pod,
  options: { readonly isRunner: boolean; readonly runtimeClasses: readonly string[] | undefined },
): PodFinding[] {
  const { securityContext } = pod;
  const broken: readonly (readonly [PolicyRule, boolean])[] = [
    [
      'runtime-class',
      options.runtimeClasses !== undefined && !options.runtimeClasses.includes(pod.runtimeClassName ?? ''),
    ],
    ['host-network', pod.hostNetwork],
    ['service-account-token', pod.automountServiceAccountToken],
    ['host-process-or-ipc', pod.hostPID || pod.hostIPC],
    ['sysctls', securityContext.sysctls.length > 0],
    ['non-root', securityContext.supplementalGroups.includes(0)],
    ['service-links', pod.enableServiceLinks],
    ['shared-processes', pod.shareProcessNamespace],
    ['job-bounds', carrier.job !== undefined && !isBounded(carrier.job, pod, options.isRunner)],
  ];
  return [
    ...broken.flatMap(([rule, isBroken]): PodFinding[] => (isBroken ? [{ rule }] : [])),
    ...pod.volumes.flatMap(volumeFindings),
  ];
}

/** Every Job ends some time; a runner's makes one pod and never another (requirements.md A.2.b 16 and 19). */
function isBounded(job: NonNullable<PodCarrier['job']>, pod: Pod, isRunner: boolean): boolean {
  const ends = job.activeDeadlineSeconds !== undefined && job.completions === 1 && job.parallelism === 1;
  if (!isRunner) return ends;
  return (
    ends && job.backoffLimit === 0 && job.podReplacementPolicy === 'Failed' && pod.restartPolicy === 'Never'
  );
}

const knownKinds = ['emptyDir', 'secret', 'configMap', 'persistentVolumeClaim', 'downwardAPI', 'projected'];

function volumeFindings(volume: Volume): PodFinding[] {
  const of = `volume ${volume.name}`;
  const kinds = Object.keys(volume).filter((key) => key !== 'name' && volume[key] !== undefined);
  if (kinds.includes('hostPath')) return [{ rule: 'host-path', of }];
  if (kinds.length !== 1 || kinds.some((kind) => !knownKinds.includes(kind)))
    return [{ rule: 'volume-kind', of }];
  if (volume.emptyDir !== undefined && volume.emptyDir.sizeLimit === undefined)
    return [{ rule: 'bounded-scratch', of }];
  const hasToken = volume.projected?.sources.some((source) => source.serviceAccountToken !== undefined);
  return hasToken === true ? [{ rule: 'projected-token', of }] : [];
}
