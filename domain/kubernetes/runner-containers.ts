import type { JobInput } from './job-manifest.js';
import type {
  ContainerSecurity,
  InitContainer,
  MainContainer,
  SidecarContainer,
  Volume,
  VolumeMount,
} from './manifest-types.js';
import { podLayout } from './pod-layout.js';
import type { ContainerResources } from './pod-options.js';

const { containers, paths, programs } = podLayout;

/** What the containers of a runner depend on. */
type ContainerInput = Pick<
  JobInput,
  'name' | 'image' | 'imagePullPolicy' | 'healthPort' | 'providerSecret' | 'volumeClaim' | 'logLevel' | 'pod'
>;

/** Names of the pod's volumes. Each container has temporary files and a home of its own: none can leave something there for another. */
const volumes = {
  session: 'session',
  socket: 'socket',
  launch: 'launch',
  prepare: 'prepare',
  provider: 'provider',
  temporaryOf: (container: string) => `${container}-tmp`,
  homeOf: (container: string) => `${container}-home`,
};

const security: ContainerSecurity = {
  allowPrivilegeEscalation: false,
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: podLayout.userId,
  runAsGroup: podLayout.groupId,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

/** Clones or restores the workspace. Bounded by its own time limit, since an init container can have no probe. */
export function prepareContainer(input: ContainerInput): InitContainer {
  return {
    ...containerBase(input, containers.prepare, programs.prepare, input.pod.resources.prepare),
    env: environment({
      AGENTRUN_PREPARE_FILE: paths.prepareFile,
      AGENTRUN_EXIT_REASON_FILE: paths.terminationLog,
      AGENTRUN_LOG_LEVEL: input.logLevel,
      HOME: paths.home,
    }),
    volumeMounts: [
      ...ownFolders(containers.prepare),
      agentFolder,
      secretFolder(volumes.prepare, paths.prepareFile),
    ],
  };
}

/**
 * Holds no credential. Its probes look for its socket only, by a program that needs no memory to speak of: an agent that uses up what the container has
 * must not end the container by that alone.
 */
export function agentHostContainer(input: ContainerInput): SidecarContainer {
  const exec = { command: ['test', '-S', paths.socket] };
  return {
    ...containerBase(input, containers.agentHost, programs.agentHost, input.pod.resources.agentHost),
    restartPolicy: 'Always',
    env: environment({
      AGENTRUN_AGENT_HOST_SOCKET: paths.socket,
      HOME: paths.home,
      TMPDIR: paths.temporary,
    }),
    readinessProbe: {
      exec,
      initialDelaySeconds: 1,
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 3,
    },
    livenessProbe: {
      exec,
      initialDelaySeconds: 20,
      periodSeconds: 30,
      timeoutSeconds: 10,
      failureThreshold: 5,
    },
    volumeMounts: [...ownFolders(containers.agentHost), agentFolder, socketFolder],
  };
}

/** The Job ends when this ends. Readiness and liveness as requirements.md A.2.a 1 and 2; the startup probe keeps the latter away from a slow start. */
export function supervisorContainer(input: ContainerInput): MainContainer {
  const port = input.healthPort;
  return {
    ...containerBase(input, containers.supervisor, programs.supervisor, input.pod.resources.supervisor),
    ports: [{ name: 'health', containerPort: port, protocol: 'TCP' }],
    env: environment({
      AGENTRUN_LAUNCH_FILE: paths.launchFile,
      AGENTRUN_EXIT_REASON_FILE: paths.terminationLog,
      AGENTRUN_HEALTH_PORT: String(port),
      AGENTRUN_LOG_LEVEL: input.logLevel,
      HOME: paths.home,
    }),
    startupProbe: {
      httpGet: { path: '/healthz', port },
      initialDelaySeconds: 1,
      periodSeconds: 5,
      timeoutSeconds: 5,
      failureThreshold: 30,
    },
    readinessProbe: {
      httpGet: { path: '/readyz', port },
      initialDelaySeconds: 3,
      periodSeconds: 5,
      timeoutSeconds: 2,
      failureThreshold: 3,
    },
    livenessProbe: {
      httpGet: { path: '/healthz', port },
      initialDelaySeconds: 20,
      periodSeconds: 30,
      timeoutSeconds: 5,
      failureThreshold: 3,
    },
    volumeMounts: [
      ...ownFolders(containers.supervisor),
      agentFolder,
      {
        name: volumes.session,
        mountPath: paths.supervisor,
        subPath: podLayout.volumeFolders.supervisor,
        readOnly: false,
      },
      socketFolder,
      secretFolder(volumes.launch, paths.launchFile),
      secretFolder(volumes.provider, paths.providerKeyFile),
    ],
  };
}

export function runnerVolumes(input: ContainerInput): Volume[] {
  const { resources } = input.pod;
  const keys = podLayout.launchSecretKeys;
  return [
    { name: volumes.session, persistentVolumeClaim: { claimName: input.volumeClaim, readOnly: false } },
    { name: volumes.socket, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    secretVolume(volumes.launch, input.name, keys.launch, paths.launchFile),
    secretVolume(volumes.prepare, input.name, keys.prepare, paths.prepareFile),
    secretVolume(volumes.provider, input.providerSecret, podLayout.providerSecretKey, paths.providerKeyFile),
    ...scratch(containers.prepare, resources.prepare),
    ...scratch(containers.agentHost, resources.agentHost),
    ...scratch(containers.supervisor, resources.supervisor),
  ];
}

/** `args`, not `command`: the image's own entry point stays in front of it and reaps. */
function containerBase(input: ContainerInput, name: string, program: string, resources: ContainerResources) {
  return {
    name,
    image: input.image,
    imagePullPolicy: input.imagePullPolicy,
    args: ['node', program],
    resources,
    securityContext: security,
    terminationMessagePath: paths.terminationLog,
    terminationMessagePolicy: 'File' as const,
  };
}

const environment = (values: Readonly<Record<string, string>>) =>
  Object.entries(values).map(([name, value]) => ({ name, value }));

const agentFolder: VolumeMount = {
  name: volumes.session,
  mountPath: paths.agent,
  subPath: podLayout.volumeFolders.agent,
  readOnly: false,
};

const socketFolder: VolumeMount = { name: volumes.socket, mountPath: paths.socketFolder, readOnly: false };

function ownFolders(container: string): VolumeMount[] {
  return [
    { name: volumes.temporaryOf(container), mountPath: paths.temporary, readOnly: false },
    { name: volumes.homeOf(container), mountPath: paths.home, readOnly: false },
  ];
}

/** No larger than what the container may write anyway; over the limit the pod is evicted, and the node keeps its disk. */
function scratch(container: string, resources: ContainerResources): Volume[] {
  const emptyDir = { sizeLimit: resources.limits['ephemeral-storage'] };
  return [
    { name: volumes.temporaryOf(container), emptyDir },
    { name: volumes.homeOf(container), emptyDir },
  ];
}

const secretFolder = (name: string, file: string): VolumeMount => ({
  name,
  mountPath: file.slice(0, file.lastIndexOf('/')),
  readOnly: true,
});

/** One key of a Secret as one file, for the group that the pod's processes have. */
function secretVolume(name: string, secretName: string, key: string, file: string): Volume {
  const path = file.slice(file.lastIndexOf('/') + 1);
  return { name, secret: { secretName, defaultMode: 0o440, items: [{ key, path }] } };
}
