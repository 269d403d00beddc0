import { parseQuantity } from '../../domain/kubernetes/quantity.js';
import type { Container, Pod } from './pod-carrier.js';
import type { PolicyRule } from './pod-policy.js';

/** A container with what it takes over from its pod. */
export interface Effective {
  readonly container: Container;
  readonly pod: Pod;
  /** Not one that ends by itself before the pod's work begins or when it is done. */
  readonly isLongRunning: boolean;
}

interface ContainerRule {
  readonly rule: PolicyRule;
  readonly isBroken: (effective: Effective) => boolean;
}

const resources = ['cpu', 'memory', 'ephemeral-storage'] as const;

export const containerRules: readonly ContainerRule[] = [
  { rule: 'privileged', isBroken: ({ container }) => container.securityContext.privileged === true },
  {
    rule: 'privilege-escalation',
    isBroken: ({ container }) => container.securityContext.allowPrivilegeEscalation !== false,
  },
  {
    rule: 'drop-all',
    isBroken: ({ container }) => !container.securityContext.capabilities.drop.includes('ALL'),
  },
  {
    rule: 'added-capability',
    isBroken: ({ container }) => container.securityContext.capabilities.add.length > 0,
  },
  {
    rule: 'proc-mount',
    isBroken: ({ container }) => (container.securityContext.procMount ?? 'Default') !== 'Default',
  },
  {
    rule: 'read-only-root',
    isBroken: ({ container }) => container.securityContext.readOnlyRootFilesystem !== true,
  },
  {
    rule: 'non-root',
    isBroken({ container, pod }) {
      const isNonRoot = container.securityContext.runAsNonRoot ?? pod.securityContext.runAsNonRoot;
      const user = container.securityContext.runAsUser ?? pod.securityContext.runAsUser;
      return isNonRoot !== true || user === undefined || user === 0;
    },
  },
  {
    rule: 'seccomp',
    isBroken({ container, pod }) {
      const profile = container.securityContext.seccompProfile ?? pod.securityContext.seccompProfile;
      return profile?.type !== 'RuntimeDefault';
    },
  },
  {
    rule: 'app-armor',
    isBroken: ({ container, pod }) =>
      [container, pod].some((one) => one.securityContext.appArmorProfile?.type === 'Unconfined'),
  },
  {
    rule: 'host-port',
    isBroken: ({ container }) => container.ports.some(({ hostPort = 0 }) => hostPort > 0),
  },
  {
    rule: 'limits',
    isBroken: ({ container }) =>
      resources.some((resource) => !isPositive(container.resources.limits[resource])),
  },
  {
    rule: 'requests',
    isBroken: ({ container: { resources: given } }) =>
      resources.some((resource) => {
        const request = given.requests[resource];
        return !isPositive(request) || amountOf(request) > amountOf(given.limits[resource]);
      }),
  },
  { rule: 'probes', isBroken: ({ container, isLongRunning }) => isLongRunning && !isProbed(container) },
  {
    rule: 'probe-host',
    isBroken: ({ container: { startupProbe, readinessProbe, livenessProbe, lifecycle } }) =>
      lifecycle !== undefined ||
      [startupProbe, readinessProbe, livenessProbe].some(
        (probe) => (probe?.httpGet?.host ?? probe?.tcpSocket?.host) !== undefined,
      ),
  },
  { rule: 'pinned-image', isBroken: ({ container }) => !isPinned(container.image) },
  { rule: 'secret-in-environment', isBroken: ({ container }) => holdsSecret(container) },
];

const amountOf = (text: string | undefined): number =>
  (text === undefined ? undefined : parseQuantity(text)) ?? Number.NaN;
const isPositive = (text: string | undefined): boolean => amountOf(text) > 0;

/**
 * Readiness and liveness, both with their times said and bounded; where both ask the same server, not the same question: liveness must not depend on
 * what readiness is about (requirements.md A.2.a 3 and 7).
 */
function isProbed({ readinessProbe, livenessProbe, startupProbe, ports }: Container): boolean {
  if (readinessProbe === undefined || livenessProbe === undefined) return false;
  const given = [readinessProbe, livenessProbe, ...(startupProbe === undefined ? [] : [startupProbe])];
  const hasTimes = given.every(
    ({ periodSeconds, timeoutSeconds, failureThreshold }) =>
      periodSeconds !== undefined &&
      failureThreshold !== undefined &&
      timeoutSeconds !== undefined &&
      timeoutSeconds <= periodSeconds,
  );
  const known = ports.flatMap(({ name, containerPort }) => [name, containerPort]);
  const portsAreOpen = given.every(({ httpGet }) => httpGet === undefined || known.includes(httpGet.port));
  const isShallow =
    livenessProbe.httpGet === undefined || livenessProbe.httpGet.path !== readinessProbe.httpGet?.path;
  return hasTimes && portsAreOpen && isShallow;
}

/** By digest, or by a tag that says which build it is. */
function isPinned(image: string): boolean {
  if (/@sha256:[0-9a-f]{64}$/.test(image)) return true;
  const tag = /:([A-Za-z0-9._-]+)$/.exec(image)?.[1];
  return tag !== undefined && tag !== 'latest';
}

/** Variables that are named like a secret and hold the name of one. */
const namesOfSecrets = ['AGENTRUN_PROVIDER_SECRET'];
const secretName = /(TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL|DATABASE_URL)S?$/;
/** A user and a password in a URL, or the usual beginnings of tokens. */
const secretValue = /:\/\/[^/\s:@]+:[^/\s@]+@|\b(sk-|ghp_|github_pat_|xox[abp]-|eyJ[A-Za-z0-9_-]{10,}\.)/;

function holdsSecret({ env, envFrom, command, args }: Container): boolean {
  return (
    envFrom.some(({ secretRef }) => secretRef !== undefined) ||
    env.some(
      ({ name, value, valueFrom }) =>
        valueFrom?.secretKeyRef !== undefined ||
        (value !== undefined && value !== '' && secretName.test(name) && !namesOfSecrets.includes(name)),
    ) ||
    [...env.map(({ value = '' }) => value), ...command, ...args].some((text) => secretValue.test(text))
  );
}
