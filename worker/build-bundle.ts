import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../infra/config/package-root.js';
import { startTracing } from '../infra/telemetry/tracing.js';
import { bundleWorkflows } from './bundle-workflows.js';

// Part of `npm run build`: a worker that finds the bundle starts two seconds sooner.
const { code } = await bundleWorkflows(startTracing({ serviceName: 'agentrun-build' }));
await writeFile(join(packageRoot(), 'dist', 'workflow-bundle.js'), code);
