/** Ids and queues of the workflows, built here only: a repeated start is a conflict, never a duplicate. */
export const sessionWorkflowId = (sessionId: string) => `session/${sessionId}`;
export const turnWorkflowId = (runId: string) => `turn/${runId}`;
export const queueTaskWorkflowId = (taskId: string) => `queueTask/${taskId}`;
export const sessionStorageWorkflowId = (sessionId: string) => `sessionStorage/${sessionId}`;
/** Cycles over all tenants and over one are different ones: whoever joins a cycle that runs is told its report. */
export const storageGcWorkflowId = (tenantId: string | null) =>
  tenantId === null ? 'storageGc' : `storageGc/${tenantId}`;
/** Each redelivery is a generation of its own. */
export const webhookDeliveryWorkflowId = (deliveryId: string, generation: number) =>
  `webhook/${deliveryId}/${generation}`;

/** Of cycles that are begun by a new Job: one at a time. */
export const runnerRetentionWorkflowId = 'runnerRetention';

/** What a Schedule starts; Temporal appends the time. */
export const maintenanceWorkflowId = (name: string) => `maintenance/${name}`;

/** Workflow tasks, launching and short activities. */
export const mainTaskQueue = 'agentrun';
/** Supervising activities only: one slot per running turn, so that they never starve the rest (architecture.md 4.2). */
export const superviseTaskQueue = 'supervise';
/** Measuring and removing the files and rows of sessions: few slots, so that they never take those of launches. */
export const storageTaskQueue = 'storage';
/** Posting to webhooks: receivers that hang take no slots of anything else. */
export const webhookTaskQueue = 'webhooks';

/** Typed search attributes, all of type Keyword (architecture.md 4.2). */
export const searchAttributeNames = {
  tenant: 'AgentRunTenant',
  project: 'AgentRunProject',
  session: 'AgentRunSession',
  run: 'AgentRunRun',
  task: 'AgentRunTask',
  state: 'AgentRunState',
} as const;
