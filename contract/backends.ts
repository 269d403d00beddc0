import type { DriverCapabilities } from './runners.js';
import type { BackendProfile } from './states.js';

/** What the driver of each backend can do: told by `register` of its runners and by `GET /api/v1/backends`. */
export const backendCapabilities = {
  codex: {
    steer: true,
    interrupt: true,
    resume: 'noReplay',
    approvals: true,
    usage: 'total',
    messageIds: true,
    diff: true,
  },
  command: {
    steer: false,
    interrupt: true,
    resume: 'none',
    approvals: false,
    usage: 'none',
    messageIds: false,
    diff: false,
  },
} as const satisfies Record<BackendProfile, DriverCapabilities>;
