import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureSchedules, maintenanceSchedules } from '../../worker/schedules.js';

let temporal: TestWorkflowEnvironment;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const path = process.env.TEMPORAL_CLI_PATH;
  if (path === undefined) throw new Error('the global setup names the Temporal server');
  temporal = await TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'existing-path', path } },
  });
});
afterAll(async () => {
  await temporal?.teardown();
});

/** Ensures them and answers what was said of each. */
async function ensured(
  schedules = maintenanceSchedules,
  client = temporal.client,
  signal = new AbortController().signal,
): Promise<unknown[]> {
  const said: unknown[] = [];
  const note = (fields: { schedule?: string; change?: string }) =>
    said.push([fields.schedule, fields.change ?? 'failed']);
  await ensureSchedules(client, { info: note, warn: note }, signal, schedules);
  return said;
}

describe('the Schedules of maintenance', () => {
  it('are created by the first worker, found by the next ones, and changed when they are different', async () => {
    const [retention, gc] = maintenanceSchedules;
    if (retention === undefined || gc === undefined) throw new Error('there are Schedules');
    const first = await Promise.all([ensured(), ensured()]);
    expect(first.flat()).toHaveLength(3);
    expect(first.flat()).toEqual(
      expect.arrayContaining([
        ['event-retention', 'created'],
        ['storage-gc', 'created'],
        ['runner-retention', 'created'],
      ]),
    );
    expect(await ensured()).toEqual([]);

    const handle = temporal.client.schedule.getHandle('maintenance/event-retention');
    await handle.pause('by an operator');
    const rarer = { ...retention, everyMs: 2 * retention.everyMs };
    const narrower = { ...gc, args: [{ tenantId: 'acme' }] };
    expect(await ensured([rarer, narrower])).toEqual([
      ['event-retention', 'changed'],
      ['storage-gc', 'changed'],
    ]);
    expect(await ensured([rarer, narrower])).toEqual([]);
    expect(await handle.describe()).toMatchObject({
      spec: { intervals: [{ every: rarer.everyMs }] },
      action: { workflowId: 'maintenance/event-retention', workflowType: 'eventRetentionWorkflow' },
      state: { paused: true },
    });
  });

  it('stop nobody when they cannot be written: it is said, tried again, and given up with the worker', async () => {
    const stopping = new AbortController();
    const nobody = new Proxy(temporal.client, {
      get(real, name) {
        const own: unknown = Reflect.get(real, name, real);
        if (name !== 'withDeadline') return own;
        return () => {
          setImmediate(() => stopping.abort());
          return Promise.reject(new Error('Temporal is away'));
        };
      },
    });
    expect(await ensured(maintenanceSchedules, nobody, stopping.signal)).toEqual([
      ['event-retention', 'failed'],
    ]);
  });
});
