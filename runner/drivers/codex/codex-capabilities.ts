import type { DriverCapabilities } from '../../../contract/runners.js';

/** What `codex app-server` can do (agents.md 2.1). */
export const codexCapabilities: DriverCapabilities = {
  steer: true,
  interrupt: true,
  resume: 'noReplay',
  approvals: true,
  usage: 'total',
  messageIds: true,
  diff: true,
};
