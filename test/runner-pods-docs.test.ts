import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { jobManifest } from '../domain/kubernetes/job-manifest.js';
import { type ContainerResources, defaultPodOptions } from '../domain/kubernetes/pod-options.js';
import { packageRoot } from '../infra/config/package-root.js';
import { parsePodOptions } from '../infra/kubernetes/pod-options.js';
import { jobInput } from './support/job-input.js';

const page = readFileSync(join(packageRoot(), 'docs/runner-pods.md'), 'utf8');
/** The cells of every row of a table. */
const rows = page.split('\n').map((line) =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim()),
);

const amounts = (one: ContainerResources['requests']) =>
  `${one.cpu}, ${one.memory}, disk ${one['ephemeral-storage']}`;

describe('docs/runner-pods.md', () => {
  it('has an example that a worker takes, with every option', () => {
    const example = /```yaml\n(.*?)```/s.exec(page)?.[1] ?? '';
    const optionsOf = parsePodOptions(example, 'the example');
    expect(optionsOf('codex').runtimeClassName).toBe('gvisor');
    for (const option of Object.keys(defaultPodOptions))
      expect(example).toMatch(new RegExp(`^ *${option}:`, 'm'));
  });

  it('has the defaults', () => {
    const { prepare, agentHost, supervisor } = defaultPodOptions.resources;
    for (const [name, { requests, limits }] of [
      ['prepare', prepare],
      ['agent-host', agentHost],
      ['supervisor', supervisor],
    ] as const)
      expect(rows).toContainEqual([`\`${name}\``, amounts(requests), amounts(limits)]);
  });

  it('has the times of the probes', () => {
    const { initContainers, containers } = jobManifest(jobInput()).spec.template.spec;
    const [[, agentHost], [supervisor]] = [initContainers, containers];
    for (const [kind, name, probe] of [
      ['startup', 'supervisor', supervisor.startupProbe],
      ['readiness', 'supervisor', supervisor.readinessProbe],
      ['liveness', 'supervisor', supervisor.livenessProbe],
      ['readiness', 'agent-host', agentHost.readinessProbe],
      ['liveness', 'agent-host', agentHost.livenessProbe],
    ] as const) {
      const { initialDelaySeconds, periodSeconds, timeoutSeconds, failureThreshold } = probe;
      const times = [initialDelaySeconds, periodSeconds, timeoutSeconds].map((seconds) => `${seconds} s`);
      expect(rows).toContainEqual([kind, `\`${name}\``, ...times, String(failureThreshold)]);
    }
  });
});
