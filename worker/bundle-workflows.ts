import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, type WorkflowBundleWithSourceMap } from '@temporalio/worker';
import type { Tracing } from '../infra/telemetry/tracing.js';
import { createTracingPlugin } from '../infra/temporal/tracing-plugin.js';

/** Bundles the workflow code with the same plugin that the worker has, or its interceptors would be missing (style.md 4.6, 54). */
export function bundleWorkflows(tracing: Tracing): Promise<WorkflowBundleWithSourceMap> {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL(`../workflows/index.${extension}`, import.meta.url)),
    plugins: [createTracingPlugin(tracing)],
    logger: {
      log: () => undefined,
      trace: () => undefined,
      debug: () => undefined,
      info: () => undefined,
      warn: console.warn,
      error: console.error,
    },
  });
}
