import { run } from './commands.js';
import type { ClusterLayout } from './layout.js';

/** Gives the node the images of an archive (docker-archive or OCI), under the names that it holds. */
export async function importImage(layout: ClusterLayout, archive: string): Promise<void> {
  await run(
    'ctr',
    ['--address', layout.containerdAddress, '--namespace', 'k8s.io', 'images', 'import', archive],
    {
      timeoutMs: 300_000,
    },
  );
}
