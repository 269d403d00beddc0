// What users of the client import as `agentrun/contract`: the routes to call and what comes back.

export type { EventType, RunEvent } from './events.js';
export {
  agentMessagePayloadSchema,
  commandExecutionPayloadSchema,
  fileChangePayloadSchema,
  terminalStatusPayloadSchema,
  usagePayloadSchema,
  userMessagePayloadSchema,
} from './events.js';
export { type OperationId, routes } from './routes/index.js';
export type { Delta, FeedEvent, FeedFrame, RunStreamFrame, SessionStreamFrame } from './streams.js';
export { streamTimes } from './streams.js';
