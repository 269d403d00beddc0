import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { readPidFile } from '../../infra/processes/pid-file.js';
import { isSameProcessAlive, type ProcessIdentity } from '../../infra/processes/process-identity.js';
import { stackLockFile } from './stack-lock.js';
import { stackPaths } from './stack-paths.js';

const port = z.number().int().min(1).max(65_535);

/** Content of `stack.json`: how to reach a local stack. It holds paths of secrets, never a secret. It stays after the
 * stack has ended, because the next start takes the same ports if it can. */
export const stackFileSchema = z.object({
  apiUrl: z.string(),
  temporalAddress: z.string(),
  temporalUiUrl: z.string(),
  databaseUrlFile: z.string(),
  apiTokenFile: z.string(),
  scriptedUrl: z.string().nullable(),
  /** The `up` (or demo) that owns the stack. */
  pid: z.number().int().positive(),
  ports: z.object({
    api: port,
    temporal: port,
    temporalUi: port,
    postgres: port,
    scriptedModel: port.optional(),
  }),
});

export type StackFile = z.infer<typeof stackFileSchema>;

/** What the last start wrote, whether its stack still runs or not; undefined when there is none that can be read. */
export function readStackFile(dataDir: string): StackFile | undefined {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(stackPaths(dataDir).stackFile, 'utf8'));
  } catch {
    return undefined;
  }
  return stackFileSchema.safeParse(content).data;
}

/** What is known of the stack of a data folder. A stack that starts has an owner, but has not written its file yet. */
export type LocalStackState =
  | { readonly kind: 'running'; readonly stack: StackFile }
  | { readonly kind: 'starting'; readonly pid: number }
  | { readonly kind: 'stopped'; readonly stack: StackFile }
  | { readonly kind: 'never-started' };

/** The state of this data folder's stack now. */
export function localStackState(dataDir: string): LocalStackState {
  const owner: ProcessIdentity | undefined = readPidFile(stackLockFile(stackPaths(dataDir)));
  const stack = readStackFile(dataDir);
  if (owner !== undefined && isSameProcessAlive(owner)) {
    return stack?.pid === owner.pid ? { kind: 'running', stack } : { kind: 'starting', pid: owner.pid };
  }
  return stack === undefined ? { kind: 'never-started' } : { kind: 'stopped', stack };
}

/** The stack of this data folder that runs now, undefined when none does. */
export function findRunningStack(dataDir: string): StackFile | undefined {
  const state = localStackState(dataDir);
  return state.kind === 'running' ? state.stack : undefined;
}

/** Writes `stack.json`, whole or not at all. */
export function writeStackFile(dataDir: string, stack: StackFile): void {
  const path = stackPaths(dataDir).stackFile;
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, `${JSON.stringify(stack, null, 2)}\n`, { mode: 0o644 });
  renameSync(temporary, path);
}
