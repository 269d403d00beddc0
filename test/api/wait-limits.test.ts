import { describe, expect, it, vi } from 'vitest';
import { LongPollLimit } from '../../api/long-poll-limit.js';
import type { WorkflowGateway } from '../../api/workflow-gateway.js';
import { eventPageSchema } from '../../contract/events.js';
import { messageLines, postEvents, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

let looks = 0;
const { api } = await useApi({
  apiTokens: [
    ...['waiting', 'other'].map((name) => ({
      name,
      token: `agr_${name}_0123456789abcdef`,
      scopes: ['operate' as const],
      tenantId: undefined,
    })),
    { name: 'admin', token: 'agr_admin_0123456789abcdef', scopes: ['admin'], tenantId: undefined },
  ],
});
Object.assign(api.deps.gateway, {
  check: () => {
    looks += 1;
    return Promise.resolve();
  },
} satisfies Partial<WorkflowGateway>);

describe('requests that wait', () => {
  it('are a hundred at once for one caller, whose other requests go on', async () => {
    const runner = await startTurn(api);
    const trace = `/api/v1/sessions/${runner.sessionId}/trace`;
    const { lastSeq } = await api.data(eventPageSchema, 'GET', trace);
    const path = `${trace}?afterSeq=${lastSeq}&waitMs=25000`;
    const token = 'agr_waiting_0123456789abcdef';
    const polls = Array.from({ length: 100 }, () => api.call('GET', path, { token }));
    await vi.waitFor(
      async () => {
        const text = await api.deps.metrics.process.registry.metrics();
        expect(text).toContain('agentrun_long_polls_open 100');
      },
      { timeout: 20_000 },
    );
    const more = await api.call('GET', path, { token });
    expect([more.status, more.body.failureKind, more.headers.get('retry-after')]).toEqual([
      429,
      'rate-limited',
      '5',
    ]);
    const cancel = { token, body: { waitMs: 1_000 } };
    expect((await api.call('POST', `/api/v1/runs/${runner.runId}/cancel`, cancel)).status).toBe(429);
    const plain = await api.call('GET', trace, { token });
    expect(plain.status).toBe(200);
    const others = await api.call('GET', path.replace('25000', '1'), { token: 'agr_other_0123456789abcdef' });
    expect(others.status).toBe(200);
    await postEvents(api, runner, messageLines(1, 1));
    for (const { status } of await Promise.all(polls)) expect(status).toBe(200);
    expect((await api.call('GET', path.replace('25000', '1'), { token })).status).toBe(200);
  });

  it('are a thousand at once for a process, runners not counted', () => {
    const limit = new LongPollLimit();
    const waiting = { query: { waitMs: '5' }, body: undefined };
    const caller = (number: number) =>
      ({ kind: 'api', via: 'token', name: `c${number}`, scopes: ['read'], tenantId: undefined }) as const;
    const opened = Array.from({ length: 1_000 }, (_, number) => limit.open(caller(number), waiting));
    expect(() => limit.open(caller(1_000), waiting)).toThrow(/too many requests wait/);
    expect(() => limit.open(caller(1_000), { query: { waitMs: '0' }, body: {} })).not.toThrow();
    const runner = { kind: 'run', runner: { runId: 'r', epoch: 1, runnerId: 'x', jobName: 'j' } } as const;
    expect(() => limit.open(runner, waiting)).not.toThrow();
    opened[0]?.();
    expect(() => limit.open(caller(1_000), waiting)).not.toThrow();
  });
});

describe('health', () => {
  it('is looked at once for all who ask in a second', async () => {
    looks = 0;
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        api.call('GET', index % 2 === 0 ? '/health' : '/readyz', { token: null }),
      ),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(looks).toBeLessThanOrEqual(2);
  });
});
