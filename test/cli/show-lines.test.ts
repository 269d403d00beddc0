import { describe, expect, it } from 'vitest';
import { parseLabels } from '../../cli/label-options.js';
import { taskLines } from '../../cli/show-lines.js';
import { queueTaskRecordSchema } from '../../contract/queue.js';

const task = queueTaskRecordSchema.parse({
  id: 'task_1',
  tenantId: 'acme',
  projectId: 'web',
  queue: 'nightly',
  title: null,
  state: 'failed',
  priority: 0,
  backendProfile: 'codex',
  sessionRef: { sessionId: 's1' },
  payload: { prompt: `fix it\n\u001b[2J${'x'.repeat(400)}` },
  labels: { team: 'blue', area: 'ui' },
  metadata: {},
  attempts: 1,
  latestAttempt: { runId: 'run_1', commandId: 'cmd_1', sessionId: 's1' },
  terminalStatus: 'failed',
  failureKind: 'agent-error',
  failureMessage: 'it gave up',
  createdAt: '2026-01-01T00:00:00.000Z',
  dispatchedAt: null,
  finishedAt: null,
  updatedAt: '2026-01-01T00:00:00.000Z',
  valuesPrinted: false,
});

describe('what `show` says to a person', () => {
  it('is a line for each thing that is there, whatever stands in it', () => {
    const lines = taskLines(task);
    const prompt = lines.splice(2, 1)[0] ?? '';
    expect(lines).toEqual([
      'task task_1 of acme/web, queue nightly',
      '  state           failed',
      '  failure         agent-error: it gave up',
      '  session         s1',
      '  run             run_1',
      '  attempts        1',
      '  labels          team=blue, area=ui',
      '  created         2026-01-01T00:00:00.000Z',
    ]);
    expect(prompt).toMatch(/^ {2}prompt {10}fix it\\n\\u001b\[2Jx+…$/);
    expect(prompt.length).toBeLessThan(350);
  });
});

describe('--label', () => {
  it.each([
    [[], undefined],
    [['a=1', ' b = x=y '], { a: '1', b: 'x=y' }],
    [['__proto__=1'], Object.fromEntries([['__proto__', '1']])],
    [['a='], { a: '' }],
  ])('%j', (options, labels) => {
    expect(parseLabels(options)).toEqual(labels);
  });

  it.each([[['a']], [['=1']], [['a=1', 'a=2']]])('refuses %j', (options) => {
    expect(() => parseLabels(options)).toThrow(/^--label: /);
  });
});
