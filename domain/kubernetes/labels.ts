/** Labels and annotations of what AgentRun makes in a cluster. */
export const labels = {
  managedBy: 'app.kubernetes.io/managed-by',
  component: 'app.kubernetes.io/component',
  /** Id of the run whose attempt started the runner; a warm runner serves later runs of the session too. */
  run: 'agentrun.dev/run',
  epoch: 'agentrun.dev/epoch',
  /** Name of the session's volume claim: a session id need not be a label's value. */
  volume: 'agentrun.dev/volume',
  lane: 'agentrun.dev/lane',
  sourceCommit: 'agentrun.dev/source-commit',
} as const;

export const annotations = {
  session: 'agentrun.dev/session',
  tenant: 'agentrun.dev/tenant',
  /** Whose volume it is, so that a removal never takes a later session's of the same id. */
  generation: 'agentrun.dev/generation',
  /** Name of the environment that the runner's image stands for: free text. */
  environment: 'agentrun.dev/environment',
} as const;

/** Value of {@link labels.managedBy} on everything that AgentRun makes, and may delete. */
export const managedBy = 'agentrun';

/** Values of {@link labels.component}. */
export const components = { runner: 'runner', sessionVolume: 'session-volume', doctor: 'doctor' } as const;
