import { join } from 'node:path';

/** Where a local runner and a session's storage live below the data folder (one place, so that `up` and the launcher agree). */
export function runnerFolders(dataDir: string, jobName: string) {
  const root = join(dataDir, 'runners', jobName);
  return {
    root,
    launchFile: join(root, 'launch.json'),
    launchedFile: join(root, 'launched.json'),
    supervisorPidFile: join(root, 'supervisor.json'),
    exitReasonFile: join(root, 'exit-reason.json'),
    agentHostPidFile: join(root, 'agent-host.json'),
    supervisorLog: join(root, 'supervisor.log'),
    agentHostLog: join(root, 'agent-host.log'),
  };
}

/** `agent/` is what the agent sees; `supervisor/` is the supervisor's own (architecture.md 7). */
export function sessionFolders(dataDir: string, sessionId: string) {
  const root = join(dataDir, 'sessions', sessionId);
  return {
    root,
    workspace: join(root, 'agent', 'workspace'),
    agentHome: join(root, 'agent', 'home'),
    supervisor: join(root, 'supervisor'),
  };
}
