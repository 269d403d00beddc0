import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sessionFolders } from '../../infra/launchers/local-folders.js';
import { decide, pendingRequest, requestsOf } from '../support/agent-requests.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getResult,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { stackProcess, supervisorOf } from '../support/runner-processes.js';
import { modelRequests, timesInLastRequest, userTexts } from '../support/scripted-control.js';

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

let turns = 0;

/** A turn whose agent asks before a command that appends one line to a file. */
async function askingTurn(policy: Record<string, unknown> = {}) {
  turns += 1;
  const marker = `PROMPT-ask-${turns}-END`;
  const sessionId = await createSession(local, {
    executionPolicy: {
      approvalPolicy: 'on-request',
      leaseMs: 3_000,
      partitionGraceMs: 15_000,
      retryBackoffMs: 50,
      ...policy,
    },
  });
  const { run } = await send(local, sessionId, `${marker} [[scenario:ask file=asked.txt line=ran]]`);
  const file = join(sessionFolders(local.dataDir, sessionId).workspace, 'asked.txt');
  /** How often the command has run. */
  const timesRun = () => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0);
  return { sessionId, runId: run.id, marker, timesRun };
}

async function jobOf(runId: string): Promise<string> {
  const { rows } = await local.db.query<{ job_name: string }>(
    'select job_name from attempts where run_id = $1 order by epoch desc limit 1',
    [runId],
  );
  return rows[0]?.job_name ?? '';
}

/** kill -9 of a part of the stack, and the wait for its successor. */
async function killPart(name: 'worker' | 'api'): Promise<void> {
  const former = stackProcess(local.dataDir, name);
  process.kill(former.pid, 'SIGKILL');
  await eventually(`${name} runs again`, () => {
    try {
      const now = stackProcess(local.dataDir, name);
      return now.pid === former.pid ? undefined : now;
    } catch {
      return undefined;
    }
  });
  await eventually('the API is ready', async () => {
    const health = await fetch(`${local.stack.apiUrl}/health/readiness`).catch(() => undefined);
    return health?.status === 200 ? true : undefined;
  });
}

/** The last model request of the run's thread, as one text. */
async function lastRequest(runId: string) {
  const [request] = await modelRequests(local, {
    thread: (await getRun(local, runId)).threadId ?? '',
    last: 1,
  });
  if (request === undefined) throw new Error('the model was not asked');
  return { told: userTexts(request).join('\n'), whole: JSON.stringify(request.body) };
}

describe('a request of the agent', () => {
  it('outlives kill -9 of worker and API between question and answer: the command runs once', async () => {
    const turn = await askingTurn();
    const asked = await pendingRequest(local, turn.runId);
    expect(asked).toMatchObject({ kind: 'command', command: expect.stringContaining('asked.txt') });
    await killPart('worker');
    await killPart('api');
    expect(turn.timesRun()).toBe(0);
    expect(await requestsOf(local, turn.runId)).toMatchObject([
      { requestId: asked.requestId, state: 'pending' },
    ]);
    const answer = await decide(local, asked, 'approve');
    expect(answer).toMatchObject({ decision: 'answer', run: { id: turn.runId } });
    expect((await eventsToEnd(local, turn.sessionId, turn.runId)).status).toBe('completed');
    expect(turn.timesRun()).toBe(1);
    const [request] = await requestsOf(local, turn.runId);
    expect(request).toMatchObject({ state: 'approved', epoch: 1 });
    expect(request?.deliveredAt).not.toBeNull();
    expect(await getRun(local, turn.runId)).toMatchObject({ attempt: 1 });
  });

  it('is superseded when its supervisor is lost, and asked anew by the next attempt', async () => {
    const turn = await askingTurn();
    const first = await pendingRequest(local, turn.runId);
    const supervisor = supervisorOf(local.dataDir, await jobOf(turn.runId));
    if (supervisor === undefined) throw new Error('the runner does not run');
    process.kill(supervisor.pid, 'SIGKILL');
    await eventually('the question is superseded', async () => {
      const [request] = await requestsOf(local, turn.runId);
      return request?.state === 'superseded' ? true : undefined;
    });
    await expect(decide(local, first, 'approve')).rejects.toMatchObject({ status: 409 });
    expect(turn.timesRun()).toBe(0);
    const again = await pendingRequest(local, turn.runId, 2);
    expect(again.requestId).not.toBe(first.requestId);
    expect(again.fingerprint).toBe(first.fingerprint);
    await decide(local, again, 'approve');
    expect((await eventsToEnd(local, turn.sessionId, turn.runId)).status).toBe('completed');
    expect(turn.timesRun()).toBe(1);
    expect(await requestsOf(local, turn.runId)).toMatchObject([
      { state: 'superseded', epoch: 1 },
      { state: 'approved', epoch: 2 },
    ]);
    expect(
      await timesInLastRequest(local, (await getRun(local, turn.runId)).threadId ?? '', [turn.marker]),
    ).toEqual({
      [turn.marker]: 1,
    });
  });

  it('that is denied is not run, and the agent is told the reason', async () => {
    const turn = await askingTurn();
    const asked = await pendingRequest(local, turn.runId);
    await decide(local, asked, 'deny', { prompt: 'DENIED-BECAUSE-END' });
    expect((await eventsToEnd(local, turn.sessionId, turn.runId)).status).toBe('completed');
    expect(turn.timesRun()).toBe(0);
    expect(await requestsOf(local, turn.runId)).toMatchObject([{ state: 'denied' }]);
    expect((await lastRequest(turn.runId)).told).toContain('DENIED-BECAUSE-END');
  });

  it('that nobody answers in time is not run, and the agent is told timeout, not denied', async () => {
    const turn = await askingTurn({ approvalTimeoutMs: 1_500 });
    await pendingRequest(local, turn.runId);
    const { events, status } = await eventsToEnd(local, turn.sessionId, turn.runId);
    expect(status).toBe('completed');
    expect(turn.timesRun()).toBe(0);
    expect(await requestsOf(local, turn.runId)).toMatchObject([{ state: 'timed-out' }]);
    const resolved = events.find((event) => event.type === 'approval_resolved');
    expect(resolved?.payload).toMatchObject({ resolution: 'timed-out' });
    const { told } = await lastRequest(turn.runId);
    expect(told).toMatch(/timeout/i);
    expect(told).toMatch(/not denied/i);
  });

  it('is not answered by a plain message, which reaches the agent as a steer', async () => {
    const turn = await askingTurn();
    const asked = await pendingRequest(local, turn.runId);
    const plain = await send(local, turn.sessionId, 'PLAIN-MESSAGE-END: yes, approve');
    expect(plain).toMatchObject({ decision: 'steer', run: { id: turn.runId } });
    await eventually('the message is at the agent', async () => {
      const { rows } = await local.db.query(
        "select 1 from commands where command_id = $1 and steer_delivery in ('acknowledged', 'delivered')",
        [plain.command.id],
      );
      return rows.length === 1 ? true : undefined;
    });
    expect(await requestsOf(local, turn.runId)).toMatchObject([
      { requestId: asked.requestId, state: 'pending' },
    ]);
    expect(turn.timesRun()).toBe(0);
    await decide(local, asked, 'approve');
    expect((await eventsToEnd(local, turn.sessionId, turn.runId)).status).toBe('completed');
    expect(turn.timesRun()).toBe(1);
    const [plainText] = Object.values(
      await timesInLastRequest(local, (await getRun(local, turn.runId)).threadId ?? '', [
        'PLAIN-MESSAGE-END',
      ]),
    );
    expect(plainText).toBe(1);
  });

  it('that waits too long parks the turn without its runner; the answer starts the next attempt', async () => {
    const turn = await askingTurn({ parkAfterMs: 1_000 });
    const asked = await pendingRequest(local, turn.runId);
    await eventually('the turn is parked', async () =>
      (await getResult(local, turn.runId)).liveness.phase === 'parked' ? true : undefined,
    );
    const job = await jobOf(turn.runId);
    await eventually('the runner is released', () =>
      supervisorOf(local.dataDir, job) === undefined ? true : undefined,
    );
    expect(await requestsOf(local, turn.runId)).toMatchObject([
      { requestId: asked.requestId, state: 'pending' },
    ]);
    await decide(local, asked, 'approve');
    const { events, status } = await eventsToEnd(local, turn.sessionId, turn.runId);
    expect(status).toBe('completed');
    expect(events.filter((event) => event.type === 'attempt_started')).toHaveLength(2);
    // The next attempt is told of the answer and does not ask for the same thing again.
    expect(await requestsOf(local, turn.runId)).toMatchObject([
      { requestId: asked.requestId, state: 'approved' },
    ]);
    const { rows } = await local.db.query<{ counted: boolean }>(
      'select counted from attempts where run_id = $1 and epoch = 1',
      [turn.runId],
    );
    expect(rows).toEqual([{ counted: false }]);
  });
});
