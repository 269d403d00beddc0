import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { ApiMetrics } from '../../../api/metrics.js';
import { packageRoot } from '../../../infra/config/package-root.js';
import { WorkerMetrics } from '../../../worker/metrics.js';

const file = join(packageRoot(), 'docs', 'metrics.md');
const marker =
  '<!-- the tables below are made from the code: npx vitest run test/infra/telemetry/metrics-docs.test.ts -u -->\n';
const metricSchema = z.array(
  z.looseObject({ name: z.string(), help: z.string(), labelNames: z.array(z.string()).default([]) }),
);
const idle = { totalCount: 0, idleCount: 0, waitingCount: 0 };

const api = new ApiMetrics();
api.process.measure({ pool: idle, listener: { connected: false } });
const worker = new WorkerMetrics();
worker.process.measure({ pool: idle, listener: { connected: false } });

function own(registry: Registry) {
  return metricSchema.parse(registry.getMetricsAsArray()).filter(({ name }) => name.startsWith('agentrun_'));
}

function table(registry: Registry): string {
  const rows = own(registry)
    .sort((a, b) => a.name.localeCompare(b.name))
    .map(({ name, help, labelNames }) => `| \`${name}\` | ${labelNames.join(', ')} | ${help} |`);
  return ['| metric | labels | meaning |', '|---|---|---|', ...rows].join('\n');
}

test('docs/metrics.md has the metrics that there are', async () => {
  const [head = ''] = readFileSync(file, 'utf8').split(marker);
  const tables = `## API\n\n${table(api.process.registry)}\n\n## Worker\n\n${table(worker.process.registry)}\n`;
  await expect(`${head}${marker}\n${tables}`).toMatchFileSnapshot(file);
});

test.each([...own(api.process.registry), ...own(worker.process.registry)])(
  '$name says its unit',
  ({ name, help }) => {
    expect(name).toMatch(
      /^agentrun_[a-z_]+(?:_total|_seconds|_bytes|_in_flight|_open|_connected|_connections|_requests|_attempts)$/,
    );
    expect(help).toMatch(/\.$/);
  },
);
