// Completes package-lock.json so that `npm ci` accepts it everywhere.
//
// Some packages bring one optional package per platform (@swc/core-darwin-arm64, …). A registry that lacks those of
// other platforms makes npm write a lock without them, and `npm ci` then refuses that lock ("Missing: … from lock
// file", npm/cli#9343). This adds the missing entries with version, os and cpu and nothing else: they are never
// downloaded on a platform that they are not for. Run it after every change of the lock.
//
// Usage: node tools/complete-lock.mjs [package-lock.json]

import { readFileSync, writeFileSync } from 'node:fs';

const systems = {
  darwin: 'darwin',
  linux: 'linux',
  win32: 'win32',
  windows: 'win32',
  android: 'android',
  freebsd: 'freebsd',
  openbsd: 'openbsd',
  netbsd: 'netbsd',
  sunos: 'sunos',
  aix: 'aix',
  openharmony: 'openharmony',
};
const processors = {
  x64: 'x64',
  arm64: 'arm64',
  arm: 'arm',
  armv7: 'arm',
  ia32: 'ia32',
  ppc64: 'ppc64',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
  mips64el: 'mips64el',
};
const cLibraries = { gnu: 'glibc', gnueabihf: 'glibc', musl: 'musl', musleabihf: 'musl' };

/** What a platform package's name says, `cli-linux-arm64-musl` for example; undefined when it names no platform. */
function platformOf(name) {
  const words = name.split('/').pop().split('-');
  if (words.some((word) => word.startsWith('wasm'))) return { os: ['none'], cpu: ['wasm32'] };
  const pick = (table) => words.map((word) => table[word]).find((value) => value !== undefined);
  const os = pick(systems);
  if (os === undefined) return undefined;
  const cpu = pick(processors);
  const libc = pick(cLibraries);
  return { os: [os], ...(cpu && { cpu: [cpu] }), ...(libc && os === 'linux' && { libc: [libc] }) };
}

/** Adds what is missing to `packages` of a lock file; answers the names added and the names it could not judge. */
function complete(packages) {
  const added = [];
  const unknown = [];
  for (const [path, entry] of Object.entries(packages)) {
    for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
      const nested = path === '' ? `node_modules/${name}` : `${path}/node_modules/${name}`;
      const hoisted = `node_modules/${name}`;
      if (packages[nested] || packages[hoisted]) continue;
      // `npm:@openai/codex@0.169.0-linux-x64` is another package under this name.
      const [, alias, version] = /^(?:npm:(.+)@)?[\^~]?([^@]+)$/.exec(range) ?? [];
      const platform = platformOf(name);
      if (platform === undefined || !/^\d+\.\d+\.\d+/.test(version ?? '')) {
        unknown.push(`${name}@${range} of ${path}`);
        continue;
      }
      packages[hoisted] = {
        ...(alias && { name: alias }),
        version,
        ...(entry.dev && { dev: true }),
        optional: true,
        ...platform,
      };
      added.push(name);
    }
  }
  return { added, unknown };
}

const file = process.argv[2] ?? 'package-lock.json';
const lock = JSON.parse(readFileSync(file, 'utf8'));
const { added, unknown } = complete(lock.packages);
for (const name of unknown) console.error(`left out, its name says no platform: ${name}`);
if (added.length > 0) {
  const byPath = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
  lock.packages = Object.fromEntries(byPath);
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
console.log(`${file}: ${added.length} platform packages added`);
