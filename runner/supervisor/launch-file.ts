import { readFile, rm } from 'node:fs/promises';
import { type LaunchSpec, launchSpecSchema } from '../../contract/runners.js';

/**
 * Reads the launch file and deletes it at once: it holds the launch token.
 *
 * @throws Error when it is absent or of another shape; its content is never in the message.
 */
export async function takeLaunchFile(path: string): Promise<LaunchSpec> {
  const text = await readFile(path, 'utf8');
  await rm(path, { force: true });
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
