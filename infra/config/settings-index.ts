import type { z } from 'zod';
import { agentHostSettings } from './agent-host-config.js';
import { apiSettings } from './api-config.js';
import { cliSettings } from './cli-config.js';
import { migrateSettings } from './migrate-config.js';
import { prepareSettings } from './prepare-config.js';
import type { Environment } from './read-env.js';
import { stackSettings } from './stack-config.js';
import { supervisorSettings } from './supervisor-config.js';
import { workerSettings } from './worker-config.js';

/** The variables of every program of ours, in the order of docs/settings.md. */
export const programSettings = {
  api: { title: 'API', schema: apiSettings },
  worker: { title: 'Worker', schema: workerSettings },
  cli: { title: 'Command `agentrun`', schema: cliSettings },
  up: { title: '`agentrun up` and `agentrun demo`', schema: stackSettings },
  migrate: { title: 'Migrator', schema: migrateSettings },
  supervisor: { title: 'Supervisor of a runner', schema: supervisorSettings },
  agentHost: { title: 'Agent-host of a runner', schema: agentHostSettings },
  prepare: { title: "Prepare of a runner's pod", schema: prepareSettings },
} as const satisfies Record<string, { readonly title: string; readonly schema: z.ZodObject }>;

/** Every variable that one of our programs reads. */
export function knownVariables(): ReadonlySet<string> {
  return new Set(Object.values(programSettings).flatMap(({ schema }) => Object.keys(schema.shape)));
}

/** What our own environment holds for a program: its variables only, for a child that is to have the same settings. */
export function settingsOf(
  program: keyof typeof programSettings,
  env: Environment = process.env,
): Record<string, string | undefined> {
  const names = Object.keys(programSettings[program].schema.shape);
  return Object.fromEntries(names.map((name) => [name, env[name]]));
}
