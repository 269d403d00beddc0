import { components, labels } from '../../domain/kubernetes/labels.js';
import { type Container, type PodCarrier, podCarrierOf } from './pod-carrier.js';
import { containerRules, type Effective } from './pod-policy-containers.js';
import { podRules } from './pod-policy-pods.js';

/** The 14 rules of security.md 4, which the admission policy of deploy/kubernetes enforces too. */
export const admissionRules = [
  'runtime-class',
  'host-network',
  'service-account-token',
  'privileged',
  'drop-all',
  'limits',
  'non-root',
  'projected-token',
  'host-path',
  'added-capability',
  'host-process-or-ipc',
  'host-port',
  'sysctls',
  'proc-mount',
] as const;

/** What else every pod of AgentRun keeps to (security.md 1, 2, 8, 16, 17, 21; requirements.md A.2.a 12, A.2.c 26 and 32). */
export const furtherRules = [
  'privilege-escalation',
  'seccomp',
  'app-armor',
  'read-only-root',
  'bounded-scratch',
  'volume-kind',
  'service-links',
  'shared-processes',
  'requests',
  'probes',
  'probe-host',
  'pinned-image',
  'secret-in-environment',
  'job-bounds',
] as const;

export type PolicyRule = (typeof admissionRules)[number] | (typeof furtherRules)[number];

export interface PolicyFinding {
  readonly rule: PolicyRule;
  /** Which manifest, and which container or volume of it. */
  readonly at: string;
}

export interface PolicyOptions {
  /** Runtime classes that pods must have one of. Left out: any, also the node's own. */
  readonly runtimeClasses?: readonly string[];
  /** Rules that this manifest may break, for example the token of the worker, which has rights in the cluster. */
  readonly excused?: readonly PolicyRule[];
}

/**
 * What is wrong with the pods of a manifest as it is applied: a Pod, or whatever makes pods, or a service account. A manifest of another kind has
 * none.
 *
 * @throws Error when it is of such a kind and cannot be read: a check that saw nothing must not pass.
 */
export function policyFindings(manifest: unknown, options: PolicyOptions = {}): PolicyFinding[] {
  const carrier = podCarrierOf(manifest);
  if (carrier === undefined) return [];
  const excused = new Set<PolicyRule>(options.excused);
  return findings(carrier, options).filter(({ rule }) => !excused.has(rule));
}

function findings(carrier: PodCarrier, options: PolicyOptions): PolicyFinding[] {
  const at = `${carrier.kind} ${carrier.name}`;
  if (carrier.pod === undefined)
    return carrier.automountsToken ? [{ rule: 'service-account-token', at }] : [];
  const { pod } = carrier;
  const isRunner = carrier.podLabels[labels.component] === components.runner;
  const effective = (container: Container, isInit: boolean): Effective => ({
    container,
    pod,
    // A Job's other containers end by themselves; a runner's stays for hours.
    isLongRunning: isInit ? container.restartPolicy === 'Always' : carrier.kind !== 'Job' || isRunner,
  });
  return [
    ...podRules(carrier, pod, { isRunner, runtimeClasses: options.runtimeClasses }).map(
      ({ rule, of }): PolicyFinding => ({ rule, at: of === undefined ? at : `${at}, ${of}` }),
    ),
    ...[
      ...pod.initContainers.map((container) => effective(container, true)),
      ...pod.containers.map((container) => effective(container, false)),
    ].flatMap((one) =>
      containerRules
        .filter(({ isBroken }) => isBroken(one))
        .map(({ rule }): PolicyFinding => ({ rule, at: `${at}, container ${one.container.name}` })),
    ),
  ];
}
