import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { ApiMetrics } from '../../api/metrics.js';
import { WorkerMetrics } from '../../worker/metrics.js';
import { deployFolder } from '../support/manifests.js';

const dashboardSchema = z.looseObject({
  title: z.string(),
  panels: z.array(
    z.looseObject({
      title: z.string(),
      type: z.string(),
      gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
      targets: z.array(z.looseObject({ expr: z.string() })).default([]),
    }),
  ),
});
const metricSchema = z.array(
  z.looseObject({ name: z.string(), type: z.string(), labelNames: z.array(z.string()).default([]) }),
);
const idle = { totalCount: 0, idleCount: 0, waitingCount: 0 };
const api = new ApiMetrics();
api.process.measure({ pool: idle, listener: { connected: false } });
const worker = new WorkerMetrics();
worker.process.measure({ pool: idle, listener: { connected: false } });

const metrics = [api, worker].flatMap(({ process }) =>
  metricSchema.parse(process.registry.getMetricsAsArray()),
);
/** Names of series, with the labels that Prometheus knows of them. */
const series = new Map(
  metrics.flatMap(({ name, type, labelNames }) =>
    type === 'histogram'
      ? ['_bucket', '_sum', '_count'].map((end): [string, string[]] => [
          `${name}${end}`,
          [...labelNames, 'le'],
        ])
      : [[name, labelNames]],
  ),
);
/** What Prometheus adds to everything that it scrapes from a pod. */
const scraped = ['job', 'pod', 'namespace', 'instance'];

const dashboard = dashboardSchema.parse(
  JSON.parse(readFileSync(join(deployFolder, 'components', 'monitoring', 'agentrun.json'), 'utf8')),
);
const expressions = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => [title, expr]),
);

it.each(expressions)('%s asks for metrics and labels that there are: %s', (_title, expression) => {
  const names = expression.match(/\b(?:agentrun|process|nodejs)_[a-z0-9_]+/g) ?? [];
  expect(names.length).toBeGreaterThan(0);
  const known = names.flatMap((name) => {
    expect([...series.keys()]).toContain(name);
    return series.get(name) ?? [];
  });
  const asked = [
    ...[...expression.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(', ')),
    ...[...expression.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label = '']) => label),
  ];
  for (const label of asked) expect([...known, ...scraped]).toContain(label);
});

it('shows every metric of ours', () => {
  const shown = expressions.map(([, expression]) => expression).join(' ');
  const missing = metrics
    .map(({ name }) => name)
    .filter((name) => name.startsWith('agentrun_') && !new RegExp(`\\b${name}(?:_bucket)?\\b`).test(shown));
  expect(missing).toEqual([]);
});

it('lays no panel over another', () => {
  const taken = new Set<string>();
  for (const { title, gridPos } of dashboard.panels)
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        expect(taken.has(`${x},${y}`), title).toBe(false);
        taken.add(`${x},${y}`);
      }
});
