import type { Import, Room, SourceFile } from './source-files.js';

/** What a room may import. A path is a folder or a file of ours; `types` means `import type` only. */
interface Arrows {
  readonly values: readonly string[];
  readonly types?: readonly string[];
  /** Packages by name or scope; undefined: any but `notPackages`. Built-in modules are `node:`. */
  readonly packages?: readonly string[];
  readonly notPackages?: readonly string[];
}

/** The one table of architecture.md 2. Beyond its words: programs of a room read their settings through infra/config,
 * who starts or is started as a local process shares infra/processes, who writes or reads what a dead runner left infra/spill, who fills a session's
 * workspace infra/workspace, and who measures its storage infra/storage/measure-directory.ts. */
const arrows: Record<Room, Arrows> = {
  contract: { values: [], packages: ['zod'] },
  domain: { values: [], types: ['contract'], packages: [] },
  workflows: {
    values: ['domain'],
    types: ['contract', 'activities'],
    packages: [
      '@opentelemetry/api',
      '@temporalio/workflow',
      '@temporalio/common',
      '@temporalio/interceptors-opentelemetry-v2',
    ],
  },
  activities: { values: ['contract', 'domain', 'store', 'infra', 'workflows/messages.ts'] },
  infra: { values: ['contract', 'domain'], types: ['workflows/messages.ts'] },
  store: { values: ['contract', 'domain', 'infra/telemetry', 'infra/config'] },
  worker: { values: ['contract', 'domain', 'workflows', 'activities', 'infra', 'store'] },
  api: {
    values: ['contract', 'domain', 'store', 'infra', 'workflows/messages.ts'],
    notPackages: ['@kubernetes/client-node', '@temporalio/worker'],
  },
  runner: {
    values: [
      'contract',
      'domain',
      'client',
      'infra/telemetry',
      'infra/config',
      'infra/processes',
      'infra/spill',
      'infra/workspace',
      'infra/storage/measure-directory.ts',
    ],
    notPackages: ['pg', 'node-pg-migrate', '@temporalio'],
  },
  cli: {
    values: ['contract', 'client', 'infra/config', 'infra/processes'],
    notPackages: ['pg', 'node-pg-migrate', '@temporalio', 'express'],
  },
  client: { values: [], types: ['contract'], packages: ['eventsource-parser'] },
  tools: { values: ['infra/config'] },
};

/** Why an import is not allowed; undefined when it is. */
export function forbiddenImport(file: SourceFile, imported: Import): string | undefined {
  const allowed = arrows[file.room];
  if (imported.isOwn) {
    if (isBelow(imported.target, [file.room, ...allowed.values])) {
      const isKubernetes = file.room === 'api' && isBelow(imported.target, ['infra/kubernetes']);
      return isKubernetes ? 'api/ has no Kubernetes rights' : undefined;
    }
    if (isBelow(imported.target, allowed.types ?? [])) {
      return imported.isTypeOnly ? undefined : `${file.room}/ may import only types of ${imported.target}`;
    }
    return `${file.room}/ may not import ${imported.target}`;
  }
  // Types leave no trace at run time, so a package's types are no dependency of the room.
  if (imported.isTypeOnly) return undefined;
  const isListed = allowed.packages === undefined || isBelow(imported.target, allowed.packages);
  const isBanned = isBelow(imported.target, allowed.notPackages ?? []);
  return isListed && !isBanned ? undefined : `${file.room}/ may not import the package ${imported.target}`;
}

function isBelow(target: string, places: readonly string[]): boolean {
  return places.some((place) => target === place || target.startsWith(`${place}/`));
}
