import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './commands.js';
import type { ClusterLayout } from './layout.js';

// The node of a test cluster is a set of Linux namespaces (processes, mounts, network) that its first process holds. Everything of the cluster runs
// in them, so nothing of it can outlive that process: the kernel ends all of them and drops mounts, bridges and packet filter rules.
const marker = 'agentrun-test-cluster';

/** Settings of the whole machine that a kubelet changes: it gets files to write to instead. */
const machineSettings = [
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'kernel/keys/root_maxbytes',
];

/**
 * What the first process does: hides what is not the node's business, then gives new volumes to the group of runners. The host-path provisioner makes
 * its folders for root alone and no kubelet applies fsGroup to them, unlike the volumes of real storage drivers.
 */
const firstProcess = `
set -eu
folder=$2
mkdir -p "$folder/volumes" "$folder/sysctl" /tmp/hostpath_pv
for name in ${machineSettings.join(' ')}; do
  [ -e "/proc/sys/$name" ] || continue
  file="$folder/sysctl/$(echo "$name" | tr / .)"
  cat "/proc/sys/$name" > "$file"
  mount --bind "$file" "/proc/sys/$name"
done
mount --bind "$folder/volumes" /tmp/hostpath_pv
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
mkfifo "$folder/never"
exec 3<>"$folder/never"
touch "$folder/node-made"
shopt -s nullglob
while :; do
  read -r -t 0.05 -u 3 || true
  for volume in /tmp/hostpath_pv/*/; do
    [ -g "$volume" ] || { chgrp 10001 "$volume" && chmod 2775 "$volume"; } || true
  done
done
`;

/** Makes the node's namespaces and the link between them and this machine. */
export async function makeNode(layout: ClusterLayout): Promise<void> {
  const log = openSync(join(layout.folder, 'logs/node'), 'a');
  const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const holder = spawn(
    'unshare',
    [...namespaces, 'bash', '-c', firstProcess, 'bash', marker, layout.folder],
    { detached: true, stdio: ['ignore', log, log] },
  );
  closeSync(log);
  holder.unref();
  const made = join(layout.folder, 'node-made');
  const deadline = Date.now() + 10_000;
  while (!readdirSync(layout.folder).includes('node-made')) {
    if (Date.now() > deadline) throw new Error(`${made} did not appear: see ${layout.folder}/logs/node`);
    await sleep(20);
  }
  await makeLink(layout);
}

async function makeLink({ name, folder, hostAddress, nodeAddress, bridgeAddress }: ClusterLayout) {
  const node = nodeProcess(folder);
  if (node === undefined) throw new Error(`the node ended at once: see ${folder}/logs/node`);
  await run('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', String(node)]);
  await run('ip', ['address', 'add', `${hostAddress}/30`, 'dev', name]);
  await run('ip', ['link', 'set', name, 'up']);
  const network = hostAddress.replace(/\.0\.1$/, '.0.0/16');
  await run('ip', ['route', 'add', network, 'via', nodeAddress]);
  // No way further out: a pull from a public registry fails at once, as it does on a machine without Internet.
  await runInNode(folder, [
    'bash',
    '-ec',
    `ip address add ${nodeAddress}/30 dev uplink; ip link set uplink up
     ip link add pods0 type bridge; ip address add ${bridgeAddress}/24 dev pods0; ip link set pods0 up`,
  ]);
}

/** Runs a short command in the node. */
export async function runInNode(folder: string, command: readonly string[]): Promise<string> {
  return run('nsenter', [...enter(folder), ...command]);
}

/** Starts a long-running program in the node; its output goes to `logs/NAME`, the id it has there to `NAME.pid`. */
export function startInNode(folder: string, name: string, command: readonly string[]): void {
  const log = openSync(join(folder, 'logs', name), 'a');
  const program = spawn(
    'nsenter',
    [
      ...enter(folder),
      'bash',
      '-c',
      'echo $$ > "$1"; shift; exec "$@"',
      'bash',
      join(folder, `${name}.pid`),
      ...command,
    ],
    { detached: true, stdio: ['ignore', log, log], cwd: folder },
  );
  closeSync(log);
  program.unref();
}

/** Ends a program of {@link startInNode}: asks, and after `graceMs` makes it. Returns when it is gone. */
export async function stopInNode(folder: string, name: string, graceMs: number): Promise<void> {
  const script = `
pid=$(cat "$1"); kill "$pid" 2>/dev/null || exit 0
for _ in $(seq $(( $2 / 50 ))); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.05; done
kill -KILL "$pid" 2>/dev/null || exit 0
for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.05; done
echo "process $pid does not end" >&2; exit 1`;
  await runInNode(folder, ['bash', '-c', script, 'bash', join(folder, `${name}.pid`), String(graceMs)]);
}

function enter(folder: string): string[] {
  const node = nodeProcess(folder);
  if (node === undefined) throw new Error(`no cluster runs in ${folder}: npm run cluster:up`);
  return ['--target', String(node), '--net', '--mount', '--pid', '--'];
}

/** Id of the node's first process on this machine; undefined when no cluster runs in the folder. */
export function nodeProcess(folder: string): number | undefined {
  return holders(folder).find(({ pid }) => isFirstProcess(pid))?.pid;
}

/** Ends the node with everything in it. Returns when the kernel has reaped the last process of it. */
export async function endNode(folder: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const left = holders(folder);
    if (left.length === 0) return;
    if (Date.now() > deadline) {
      throw new Error(`processes ${left.map(({ pid }) => pid).join(', ')} of ${folder} do not end`);
    }
    for (const { pid } of left) kill(pid);
    await sleep(50);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}

/** Found by what they were started with: a state folder that somebody removed must not hide a cluster that still runs. */
function holders(folder: string): { pid: number }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name) }))
    .filter(({ pid }) => readProcessFile(pid, 'cmdline').endsWith(`\0${marker}\0${folder}\0`));
}

/** The one that is process 1 of its namespace: neither `unshare` outside nor a short-lived child inside. */
function isFirstProcess(pid: number): boolean {
  return /^NSpid:.*\t1$/m.test(readProcessFile(pid, 'status'));
}

function readProcessFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
