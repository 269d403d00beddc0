import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run } from './commands.js';

/** Debian's packages and a file of each that this cluster needs. */
const packages = [
  { name: 'containerd', file: 'containerd' },
  { name: 'runc', file: 'runc' },
  { name: 'etcd-server', file: 'etcd' },
  { name: 'containernetworking-plugins', file: '/usr/lib/cni/bridge' },
  { name: 'iptables', file: 'iptables' },
  { name: 'iproute2', file: 'ip' },
  { name: 'openssl', file: 'openssl' },
  { name: 'busybox-static', file: '/bin/busybox' },
];

/** Installs what is missing, as root on Debian. @throws Error that says what to install when it cannot. */
export async function installPackages(log: (line: string) => void): Promise<void> {
  const missing = packages.filter(({ file }) => !isPresent(file)).map(({ name }) => name);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || !isPresent('apt-get')) {
    throw new Error(`please install: ${missing.join(' ')}`);
  }
  log(`installing ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { timeoutMs: 300_000, env });
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], {
    timeoutMs: 600_000,
    env,
  });
}

function isPresent(file: string): boolean {
  if (file.startsWith('/')) return existsSync(file);
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, file)));
}
