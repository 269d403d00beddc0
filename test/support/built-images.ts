import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { packageRoot } from '../../infra/config/package-root.js';

const run = promisify(execFile);
/** From nothing, on two cores that others use too. */
const buildMs = 1_200_000;

const imageSchema = z.object({ image: z.string(), archive: z.string(), bytes: z.number() });
const listSchema = z.object({ api: imageSchema, worker: imageSchema, runner: imageSchema });
export type BuiltImages = z.infer<typeof listSchema>;

/**
 * AgentRun's images of the sources as they are now, by `npm run images`: what did not change is not built again. With AGENTRUN_TEST_IMAGES=as-built those
 * that are there are taken, however old.
 */
export async function builtImages(): Promise<BuiltImages> {
  const root = packageRoot();
  if (process.env.AGENTRUN_TEST_IMAGES !== 'as-built')
    await run('npm', ['run', '--silent', 'images'], {
      cwd: root,
      timeout: buildMs,
      maxBuffer: 100_000_000,
    });
  return listSchema.parse(JSON.parse(await readFile(join(root, '.images/images.json'), 'utf8')));
}
