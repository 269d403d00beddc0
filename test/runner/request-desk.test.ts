import { describe, expect, test, vi } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import type { AgentRequest, AgentRequestResolution, AnswerPayload } from '../../contract/agent-requests.js';
import type { ProducedEvent } from '../../contract/events.js';
import { encodeId, idPrefixes } from '../../contract/ids.js';
import type { Grant } from '../../contract/runners.js';
import { RequestDesk } from '../../runner/supervisor/request-desk.js';
import { fakeCommand } from './support/fake-manager.js';
import { uuidv7Bytes } from './support/uuid-bytes.js';

const id = () => encodeId(idPrefixes.agentRequest, uuidv7Bytes());
const request = (fingerprint = 'f'): AgentRequest => ({
  requestId: id(),
  kind: 'command',
  itemId: null,
  summary: 'run it',
  command: 'make deploy',
  cwd: '/w',
  reason: null,
  details: null,
  questions: [],
  fingerprint,
});

function desk(
  options: {
    grants?: Grant[];
    remember?: () => Promise<void>;
    asks?: boolean;
    timeoutMs?: number;
    answer?: () => Promise<void>;
    expire?: () => AgentRequestResolution;
  } = {},
) {
  const told: [string, AgentRequestResolution][] = [];
  const remembered: string[] = [];
  const events: ProducedEvent[] = [];
  const acknowledged: string[] = [];
  const fenced: string[] = [];
  const subject = new RequestDesk({
    asks: options.asks ?? true,
    timeoutMs: options.timeoutMs ?? 0,
    remember: async (requestId) => {
      await options.remember?.();
      remembered.push(requestId);
    },
    answer: async (requestId, resolution) => {
      await options.answer?.();
      told.push([requestId, resolution]);
    },
    emit: (event) => events.push(event),
    acknowledge: (commandId) => acknowledged.push(commandId),
    expire: async () => {
      if (options.expire === undefined) throw new Error('not expected');
      return await Promise.resolve().then(options.expire);
    },
    onFenced: (reason) => fenced.push(reason),
    log: { warn: () => undefined },
  });
  subject.grant(options.grants ?? []);
  const short = () =>
    events.map(({ type, payload }) =>
      `${type} ${JSON.stringify(payload.resolution ?? payload.summary)}`.replaceAll('"', ''),
    );
  const answer = (requestId: string, decision: AnswerPayload['decision'], text: string | null = null) => {
    const command = {
      ...fakeCommand('run', 2, 'answer', ''),
      payload: { requestId, decision, text, answers: null },
    };
    subject.answered(command);
    return command.id;
  };
  return { subject, told, remembered, events, acknowledged, fenced, short, answer };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('a request of the agent', () => {
  test.each<[AnswerPayload['decision'], AgentRequestResolution]>([
    ['approve', { resolution: 'approved', forSession: false }],
    ['approve-for-session', { resolution: 'approved', forSession: true }],
    ['deny', { resolution: 'denied', text: 'words' }],
    ['answer', { resolution: 'answered', text: 'words', answers: null }],
  ])('%s', async (decision, resolution) => {
    const { subject, told, acknowledged, answer, short, events } = desk();
    const asked = request();
    subject.asked(asked);
    expect(subject.waiting).toBe(true);
    expect(events[0]?.payload).toEqual(asked);
    const command = answer(asked.requestId, decision, 'words');
    await settled();
    expect(subject.waiting).toBe(false);
    expect(told).toEqual([[asked.requestId, resolution]]);
    expect(acknowledged).toEqual([command]);
    expect(short()).toEqual(['approval_requested run it', `approval_resolved ${resolution.resolution}`]);
    // The words of an answer may be a secret.
    expect(events[1]?.payload.reason).toBe(decision === 'deny' ? 'words' : null);
  });

  test('only an answer that names it resolves it', async () => {
    const { subject, told, acknowledged, answer } = desk();
    subject.asked(request());
    answer(id(), 'approve');
    subject.answered({ ...fakeCommand('run', 3, 'answer', ''), payload: { text: 'yes' } });
    await settled();
    expect([told, acknowledged, subject.waiting]).toEqual([[], [], true]);
  });

  test('an answer that comes twice is told once and acknowledged twice', async () => {
    const { subject, told, acknowledged, answer } = desk();
    const asked = request();
    subject.asked(asked);
    answer(asked.requestId, 'approve');
    answer(asked.requestId, 'approve');
    await settled();
    expect(told).toHaveLength(1);
    expect(acknowledged).toHaveLength(2);
  });

  test('the agent is told only after it is written down that it is', async () => {
    let write: () => void = () => undefined;
    const written = new Promise<void>((resolve) => {
      write = resolve;
    });
    const { subject, told, remembered, acknowledged, answer } = desk({ remember: () => written });
    const asked = request();
    subject.asked(asked);
    answer(asked.requestId, 'approve');
    await settled();
    expect([told, acknowledged]).toEqual([[], []]);
    write();
    await settled();
    expect(told).toHaveLength(1);
    expect([remembered, acknowledged.length]).toEqual([[asked.requestId], 1]);
  });

  test('an agent that could not be told: nothing is acknowledged', async () => {
    const { subject, acknowledged, answer, short } = desk({
      answer: () => Promise.reject(new Error('the pipe is closed')),
    });
    const asked = request();
    subject.asked(asked);
    answer(asked.requestId, 'approve');
    await settled();
    expect(acknowledged).toEqual([]);
    expect(short()).toEqual(['approval_requested run it']);
  });

  test('withdrawn by the agent, unless the runner is being stopped', async () => {
    const running = desk();
    const asked = request();
    running.subject.asked(asked);
    running.subject.closed(asked.requestId);
    running.subject.closed(asked.requestId);
    expect(running.short()).toEqual(['approval_requested run it', 'approval_resolved withdrawn']);
    const stopping = desk();
    stopping.subject.asked(asked);
    stopping.subject.keep();
    stopping.subject.closed(asked.requestId);
    await settled();
    expect(stopping.short()).toEqual(['approval_requested run it']);
    expect(stopping.subject.waiting).toBe(false);
  });

  test('what the agent closes because it was answered is not withdrawn', async () => {
    const { subject, answer, short } = desk();
    const asked = request();
    subject.asked(asked);
    answer(asked.requestId, 'approve');
    subject.closed(asked.requestId);
    await settled();
    expect(short()).toEqual(['approval_requested run it', 'approval_resolved approved']);
  });

  test('nobody can be asked under the policy never', async () => {
    const { subject, told, short } = desk({ asks: false });
    subject.asked(request());
    await settled();
    expect(subject.waiting).toBe(false);
    expect(told[0]?.[1]).toEqual({ resolution: 'no-channel' });
    expect(short()).toEqual(['approval_requested run it', 'approval_resolved no-channel']);
  });

  test('an answer given meanwhile is used once, for the same thing only, without asking', async () => {
    const granted: Grant = {
      requestId: id(),
      fingerprint: 'same',
      summary: 'run it',
      resolution: { resolution: 'approved', forSession: false },
    };
    const { subject, told, remembered, events, short } = desk({ grants: [granted] });
    const [other, same, again] = [request('other'), request('same'), request('same')];
    for (const one of [other, same, again]) subject.asked(one);
    await settled();
    expect(told).toEqual([[same.requestId, granted.resolution]]);
    expect(remembered).toEqual([granted.requestId]);
    expect(short()).toEqual([
      'approval_requested run it',
      'approval_requested run it',
      'approval_resolved approved',
    ]);
    expect(events[2]?.payload.requestId).toBe(granted.requestId);
  });
});

describe('the time of a request', () => {
  test('the record decides, asked again while the API is away', async () => {
    let asked = 0;
    const { subject, told, short } = desk({
      timeoutMs: 20,
      expire: () => {
        asked += 1;
        if (asked === 1) throw new ConnectionError('network', 'away');
        if (asked === 2) throw new ApiError({ status: 404, failureKind: 'not-found', message: 'not yet' });
        if (asked === 3)
          throw new ApiError({ status: 401, failureKind: 'unauthorized', message: 'old token' });
        return { resolution: 'timed-out' };
      },
    });
    subject.asked(request());
    await expect.poll(() => told.length, { timeout: 10_000 }).toBe(1);
    expect(asked).toBe(4);
    expect(told[0]?.[1]).toEqual({ resolution: 'timed-out' });
    expect(short().at(-1)).toBe('approval_resolved timed-out');
  });

  test('an approval that was stored first wins, and its command is acknowledged', async () => {
    const { subject, told, answer, acknowledged } = desk({
      timeoutMs: 20,
      expire: () => ({ resolution: 'approved', forSession: false }),
    });
    const asked = request();
    subject.asked(asked);
    await expect.poll(() => told.length).toBe(1);
    const command = answer(asked.requestId, 'approve');
    await settled();
    expect(told).toEqual([[asked.requestId, { resolution: 'approved', forSession: false }]]);
    expect(acknowledged).toEqual([command]);
  });

  test("a refusal that is none of the API's does not end the asking", async () => {
    let asked = 0;
    const { told, subject } = desk({
      timeoutMs: 20,
      expire: () => {
        asked += 1;
        if (asked === 1) throw new ApiError({ status: 403, failureKind: 'http-403', message: 'gateway' });
        return { resolution: 'timed-out' };
      },
    });
    subject.asked(request());
    await expect.poll(() => told.length, { timeout: 10_000 }).toBe(1);
  });

  test('fenced ends it', async () => {
    const { subject, fenced } = desk({
      timeoutMs: 20,
      expire: () => {
        throw new ApiError({ status: 409, failureKind: 'fenced', message: 'not current' });
      },
    });
    subject.asked(request());
    await expect.poll(() => fenced).toEqual(['expire: fenced']);
  });

  test('thirty days are not over at once, and no time is no limit', async () => {
    vi.useFakeTimers();
    try {
      let asked = 0;
      const expire = (): AgentRequestResolution => {
        asked += 1;
        return { resolution: 'timed-out' };
      };
      const days30 = 30 * 86_400_000;
      const limited = desk({ timeoutMs: days30, expire });
      limited.subject.asked(request());
      const unlimited = desk({ timeoutMs: 0, expire });
      unlimited.subject.asked(request());
      await vi.advanceTimersByTimeAsync(days30 - 1_000);
      expect(asked).toBe(0);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(asked).toBe(1);
      expect([limited.subject.waiting, unlimited.subject.waiting]).toEqual([false, true]);
    } finally {
      vi.useRealTimers();
    }
  });
});
