import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type ChildName, childPidFile, stackPaths } from '../../cli/stack/stack-paths.js';
import { runnerFolders } from '../../infra/launchers/local-folders.js';
import { readPidFile, readPidFileAs } from '../../infra/processes/pid-file.js';
import {
  isSameProcessAlive,
  type ProcessIdentity,
  processIdentitySchema,
} from '../../infra/processes/process-identity.js';

// The processes of a local stack, found by pid files and start times, or by what /proc says of them.

const hostFile = processIdentitySchema.extend({ children: z.array(processIdentitySchema).default([]) });

/** A part of the stack that runs. @throws Error when it does not. */
export function stackProcess(dataDir: string, name: ChildName): ProcessIdentity {
  const identity = readPidFile(childPidFile(stackPaths(dataDir), name));
  if (identity === undefined || !isSameProcessAlive(identity)) throw new Error(`${name} does not run`);
  return identity;
}

/** The supervisor of a runner, while it lives. */
export function supervisorOf(dataDir: string, jobName: string): ProcessIdentity | undefined {
  return living(readPidFile(runnerFolders(dataDir, jobName).supervisorPidFile));
}

/** The agent-host of a runner, while it lives. */
export function agentHostOf(dataDir: string, jobName: string): ProcessIdentity | undefined {
  return living(readPidFile(runnerFolders(dataDir, jobName).agentHostPidFile));
}

/** The agent of a runner, while it lives: the leader of its process group. */
export function agentOf(dataDir: string, jobName: string): ProcessIdentity | undefined {
  const host = readPidFileAs(runnerFolders(dataDir, jobName).agentHostPidFile, hostFile);
  return host?.children.find(isSameProcessAlive);
}

/** What lives of a session's runners and agents, in words: found by command line, environment and folder, so a lost pid file hides nothing. */
export function processesBelow(...folders: readonly string[]): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      const facts = ['environ', 'cmdline'].map((file) => textOf(`/proc/${pid}/${file}`)).join('\0');
      const cwd = linkOf(`/proc/${pid}/cwd`);
      return folders.some((folder) => facts.includes(folder) || `${cwd}/`.startsWith(`${folder}/`));
    })
    .filter((pid) => !/^State:\s+[ZX]/m.test(textOf(`/proc/${pid}/status`)))
    .map((pid) => `${pid} ${textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 120)}`);
}

/** Folders of the runners of these jobs and of the session, of which no process may be left. */
export function sessionProcesses(dataDir: string, sessionId: string, jobNames: readonly string[]): string[] {
  const runners = jobNames.map((name) => runnerFolders(dataDir, name).root);
  return processesBelow(join(dataDir, 'sessions', sessionId), ...runners);
}

/** The text of a launch file before its supervisor takes it away; undefined while there is none. */
export function launchFileText(dataDir: string, jobName: string): string | undefined {
  const { launchFile } = runnerFolders(dataDir, jobName);
  const text = existsSync(launchFile) ? textOf(launchFile) : '';
  return text.endsWith('}') ? text : undefined;
}

function living(identity: ProcessIdentity | undefined): ProcessIdentity | undefined {
  return identity !== undefined && isSameProcessAlive(identity) ? identity : undefined;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
