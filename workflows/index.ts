// The bundle's entry: what is exported here is registered, under these names, which are stored in histories.
export { queueTaskWorkflow } from './queue-task.js';
export { sessionWorkflow } from './session.js';
export { sessionStorageWorkflow } from './session-storage.js';
export { storageGcWorkflow } from './storage-gc.js';
export { turnWorkflow } from './turn.js';
