// The bundle's entry: what is exported here is registered, under these names, which are stored in histories.
export { eventRetentionWorkflow } from './event-retention.js';
export { queueTaskWorkflow } from './queue-task.js';
export { runnerRetentionWorkflow } from './runner-retention.js';
export { sessionWorkflow } from './session.js';
export { sessionStorageWorkflow } from './session-storage.js';
export { storageGcWorkflow } from './storage-gc.js';
export { turnWorkflow } from './turn.js';
export { webhookDeliveryWorkflow } from './webhook-delivery.js';
