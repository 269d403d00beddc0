import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { run } from './commands.js';

const module = import.meta.dirname;
const buildTimeoutMs = 40 * 60_000;
const kubernetesVersion = 'v1.34.4';
const flags = [
  '-trimpath',
  `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${kubernetesVersion}`,
];

/** The one program that is the whole of Kubernetes, built from the Go module beside this file when the cache has none of this state of it. */
export async function kubernetesBinary(log: (line: string) => void): Promise<string> {
  const hash = createHash('sha256').update(flags.join(' '));
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(readFileSync(join(module, file)));
  const folder = join(homedir(), '.cache/agentrun/kube', hash.digest('hex').slice(0, 16));
  const binary = join(folder, 'kube');
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  log('building Kubernetes, which takes 5 to 20 minutes, once');
  const unfinished = `${binary}.${process.pid}`;
  // Where Go's own archive puts it, which is on few paths.
  const path = `${process.env.PATH ?? ''}${delimiter}/usr/local/go/bin`;
  try {
    await run('go', ['build', ...flags, '-o', unfinished, '.'], {
      cwd: module,
      timeoutMs: buildTimeoutMs,
      env: { ...process.env, PATH: path, CGO_ENABLED: '0' },
    });
  } catch (error) {
    throw new Error('Kubernetes was not built; it needs Go 1.24 or newer (https://go.dev/dl)', {
      cause: error,
    });
  }
  renameSync(unfinished, binary);
  return binary;
}
