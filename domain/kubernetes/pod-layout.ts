/**
 * What is where in a runner's pod: one place for the manifest, the images and the launch file (architecture.md 7). All containers have one user, so that
 * the supervisor may open the socket of agent-host; process namespaces keep them apart (security.md 8).
 */
export const podLayout = {
  userId: 10_001,
  groupId: 10_001,
  containers: { supervisor: 'supervisor', agentHost: 'agent-host', prepare: 'prepare' },
  /** Folders of the session's volume, by subPath. */
  volumeFolders: { agent: 'agent', supervisor: 'supervisor' },
  paths: {
    /** The agent's part of the session's volume: in prepare, agent-host and supervisor. */
    agent: '/session/agent',
    workspace: '/session/agent/workspace',
    agentHome: '/session/agent/home',
    /** The supervisor's part of the session's volume: in no other container. */
    supervisor: '/session/supervisor',
    /** Shared by agent-host and supervisor, in memory. */
    socketFolder: '/run/agentrun',
    socket: '/run/agentrun/agent-host.sock',
    /** Keys of the launch Secret, each mounted only where it is read. */
    launchFile: '/launch/launch.json',
    prepareFile: '/prepare/prepare.json',
    providerKeyFile: '/provider/key',
    home: '/home/agentrun',
    temporary: '/tmp',
    terminationLog: '/dev/termination-log',
  },
  launchSecretKeys: { launch: 'launch.json', prepare: 'prepare.json' },
  /** Key of the Secret that holds the model provider's key. */
  providerSecretKey: 'key',
  /** Node's programs below the image's root. */
  programs: {
    supervisor: '/app/dist/runner/supervisor/main.js',
    agentHost: '/app/dist/runner/agent-host/main.js',
    prepare: '/app/dist/runner/prepare/main.js',
  },
} as const;
