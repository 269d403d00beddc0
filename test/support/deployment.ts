import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { deployFolder } from './manifests.js';

/** kubectl of one cluster, with all rights. */
export interface Kubectl {
  readonly program: string;
  readonly kubeconfig: string;
}

/** How a command of kubectl ended. */
export interface KubectlEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const commandMs = 60_000;

/** Runs kubectl; `input` is what it reads. It ends after a minute at the latest. */
export async function kubectl(
  { program, kubeconfig }: Kubectl,
  args: readonly string[],
  input = '',
): Promise<KubectlEnd> {
  const child = spawn(program, ['--kubeconfig', kubeconfig, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: commandMs,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // One that ends without reading everything is judged by its code.
  child.stdin.on('error', () => undefined).end(input);
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}

/** What an overlay of deploy/kubernetes, or a folder, becomes. @throws Error with kustomize's words. */
export async function rendered(tool: Kubectl, overlay: string): Promise<string> {
  const { code, stdout, stderr } = await kubectl(tool, [
    'kustomize',
    join(deployFolder, 'overlays', overlay),
  ]);
  if (code !== 0) throw new Error(stderr);
  return stdout;
}

/**
 * The same installation under names of its own, so that several stand in one cluster: namespaces `MARK-main` and `MARK-runners`, and what belongs to no
 * namespace. The admission policy then binds to these runners only.
 */
export function underNamesOf(mark: string, manifests: string): string {
  return manifests
    .replaceAll(/\bagentrun-v01\b(?!-runner)/g, `${mark}-runners`)
    .replaceAll(/(namespace|name|kubernetes\.io\/metadata\.name): agentrun$/gm, `$1: ${mark}-main`)
    .replaceAll(/(name|policyName): agentrun-(runners|worker-nodes)$/gm, `$1: ${mark}-$2`)
    .replaceAll('agentrun.dev/admission: runners', `agentrun.dev/admission: ${mark}`);
}
