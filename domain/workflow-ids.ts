/** Ids and queues of the workflows, built here only: a repeated start is a conflict, never a duplicate. */
export const sessionWorkflowId = (sessionId: string) => `session/${sessionId}`;
export const turnWorkflowId = (runId: string) => `turn/${runId}`;
export const queueTaskWorkflowId = (taskId: string) => `queueTask/${taskId}`;

/** Workflow tasks, launching and short activities. */
export const mainTaskQueue = 'agentrun';
/** Supervising activities only: one slot per running turn, so that they never starve the rest (architecture.md 4.2). */
export const superviseTaskQueue = 'supervise';

/** Typed search attributes, all of type Keyword (architecture.md 4.2). */
export const searchAttributeNames = {
  tenant: 'AgentRunTenant',
  project: 'AgentRunProject',
  session: 'AgentRunSession',
  run: 'AgentRunRun',
  task: 'AgentRunTask',
  state: 'AgentRunState',
} as const;
