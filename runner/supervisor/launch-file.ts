import { readFile, rm } from 'node:fs/promises';
import { type LaunchSpec, launchSpecSchema } from '../../contract/runners.js';

/**
 * Reads the launch file and deletes it at once: it holds the launch token. One that is mounted from a Secret cannot be deleted by us: no other container
 * sees it, and it goes with its Job.
 *
 * @throws Error when it is absent or of another shape; its content is never in the message.
 */
export async function takeLaunchFile(path: string): Promise<LaunchSpec> {
  const text = await readFile(path, 'utf8');
  await rm(path, { force: true }).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'EROFS')) throw error;
  });
  const parsed = launchSpecSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => issue.path.join('.') || '(root)');
  throw new Error(`the launch file does not fit the contract: ${fields.join(', ')}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
