import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PrepareSpec } from '../../contract/runners.js';
import { prepareWorkspace } from '../../infra/workspace/prepare-workspace.js';

/**
 * Makes the agent's folders on the session's volume, and fills the workspace at the session's first turn. What a former turn left there stays as it is.
 *
 * @throws PrerequisiteError when the workspace cannot be had; the error of `signal`; an error of the volume.
 */
export async function fillVolume(
  agentDirectory: string,
  { workspace, defaultRepository }: PrepareSpec,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  signal.throwIfAborted();
  await mkdir(join(agentDirectory, 'home'), { recursive: true, mode: 0o700 });
  await prepareWorkspace(
    join(agentDirectory, 'workspace'),
    workspace,
    {
      place: { kind: 'pod' },
      defaultRepository: defaultRepository ?? undefined,
      gitTimeoutMs: timeoutMs,
    },
    signal,
  );
}
