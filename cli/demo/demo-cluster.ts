import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';

const buildLimitMs = 20 * 60_000;
const commandLimitMs = 5 * 60_000;

/** Of what `npm run cluster:up` says about its cluster (test/cluster/layout.ts). */
const clusterSchema = z.object({
  hostAddress: z.string(),
  serviceRange: z.string(),
  kubeconfig: z.string(),
  kubectl: z.string(),
  containerdAddress: z.string(),
});
export type DemoCluster = z.output<typeof clusterSchema>;

/** What `npm run images` says about an image. */
const imageSchema = z.object({ image: z.string(), archive: z.string() });
const imagesSchema = z.object({ api: imageSchema, worker: imageSchema, runner: imageSchema });
type ImageName = keyof z.output<typeof imagesSchema>;

/** @throws Error with what to do when there is no cluster. */
export function readDemoCluster(folder: string): DemoCluster {
  const file = join(folder, 'cluster.json');
  if (!existsSync(file))
    throw new Error(`there is no cluster in ${folder}: npm run cluster:up, or set AGENTRUN_CLUSTER_FOLDER`);
  return clusterSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
}

/** Runs kubectl on the cluster and answers what it printed. @throws Error with its complaint. */
export function kubectl(
  cluster: DemoCluster,
  args: readonly string[],
  onLine?: (line: string) => void,
): Promise<string> {
  const all = ['--kubeconfig', cluster.kubeconfig, ...args];
  return run(cluster.kubectl, all, { limitMs: commandLimitMs, onLine });
}

/** Builds the images that changed and gives them to the node. Answers their names. */
export async function provideImages(
  cluster: DemoCluster,
  log: (line: string) => void,
): Promise<Record<ImageName, string>> {
  const program = join(packageRoot(), 'dist', 'tools', 'images', 'main.js');
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\``);
  await run(process.execPath, [program], { limitMs: buildLimitMs, onLine: log });
  const file = join(packageRoot(), '.images', 'images.json');
  const images = imagesSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  const present = (await ctr(cluster, 'images', 'list', '--quiet')).split('\n');
  for (const { image, archive } of Object.values(images)) {
    if (present.includes(image)) continue;
    log(`the node gets ${image}`);
    await ctr(cluster, 'images', 'import', archive);
  }
  return { api: images.api.image, worker: images.worker.image, runner: images.runner.image };
}

const ctr = ({ containerdAddress }: DemoCluster, ...args: string[]): Promise<string> =>
  run('ctr', ['--address', containerdAddress, '--namespace', 'k8s.io', ...args], { limitMs: commandLimitMs });

async function run(
  file: string,
  args: readonly string[],
  options: { readonly limitMs: number; readonly onLine?: ((line: string) => void) | undefined },
): Promise<string> {
  const child = spawn(file, args, {
    env: childEnvironment(),
    cwd: packageRoot(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.limitMs,
    killSignal: 'SIGKILL',
  });
  const lines: string[] = [];
  const complaints: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    options.onLine?.(line);
  });
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0) return lines.join('\n');
  throw new Error(
    `${file} ${args.join(' ')} ended with ${code ?? 'a signal'}: ${complaints.slice(-5).join('\n')}`,
  );
}
