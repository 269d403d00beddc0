import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isSameProcessAlive, type ProcessIdentity } from '../../infra/processes/process-identity.js';
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
import {
  atHold,
  modelRequests,
  release,
  timesInLastRequest,
  userTexts,
} from '../support/scripted-control.js';

const executionPolicy = { leaseMs: 3_000, retryBackoffMs: 50, maxAttempts: 3 };

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

/** kill -9 of the supervisor that serves this attempt, once it serves. */
async function killRunner(runId: string, epoch: number): Promise<void> {
  const victim = await eventually<ProcessIdentity>(`attempt ${epoch} serves`, async () => {
    const { rows } = await local.db.query<{ job_name: string }>(
      'select job_name from attempts where run_id = $1 and epoch = $2 and claimed_at is not null',
      [runId, epoch],
    );
    return rows[0] === undefined ? undefined : supervisorOf(local.dataDir, rows[0].job_name);
  });
  process.kill(victim.pid, 'SIGKILL');
  await eventually('it is dead', () => (isSameProcessAlive(victim) ? undefined : true));
}

describe('a turn whose runner is killed', () => {
  it('is resumed on its thread: the agent is told, and has each message once', async () => {
    const sessionId = await createSession(local, { executionPolicy });
    const { run } = await send(local, sessionId, 'PROMPT-resumed-END [[scenario:hold name=resumed]]');
    await atHold(local, 'resumed');
    const { threadId } = await getRun(local, run.id);
    const steer = await send(local, sessionId, 'STEER-resumed-END');
    await eventually('the steer is in the thread', async () => {
      const { rows } = await local.db.query(
        "select 1 from commands where command_id = $1 and steer_delivery = 'delivered'",
        [steer.command.id],
      );
      return rows.length === 1 ? true : undefined;
    });
    await killRunner(run.id, 1);
    await release(local, 'resumed');
    const { events, status } = await eventsToEnd(local, sessionId, run.id);
    expect(status).toBe('completed');
    expect(await getRun(local, run.id)).toMatchObject({ attempt: 2, threadId, failureKind: null });
    const started = events.filter((event) => event.type === 'attempt_started');
    expect(started.map((event) => event.epoch)).toEqual([1, 2]);
    const ended = events.find((event) => event.payload.phase === 'attempt-ended');
    expect(ended?.payload).toMatchObject({ attempt: 1, failureKind: 'runner-lost' });
    expect(
      await timesInLastRequest(local, threadId ?? '', ['PROMPT-resumed-END', 'STEER-resumed-END']),
    ).toEqual({
      'PROMPT-resumed-END': 1,
      'STEER-resumed-END': 1,
    });
    const [last] = await modelRequests(local, { thread: threadId ?? '', last: 1 });
    if (last === undefined) throw new Error('the model was not asked');
    const notes = userTexts(last).filter(
      (text) => /attempt 2/i.test(text) && !text.includes('PROMPT-') && !text.includes('STEER-'),
    );
    expect(notes).toHaveLength(1);
  }, 90_000);

  it('before the agent was asked anything starts over, with its prompt once and no note', async () => {
    const sessionId = await createSession(local, { executionPolicy });
    const { run } = await send(local, sessionId, 'PROMPT-fresh-END [[scenario:echo]]');
    const { rows } = await local.db.query<{ job_name: string }>(
      'select job_name from attempts where run_id = $1',
      [run.id],
    );
    const victim = await eventually(
      'the runner starts',
      () => supervisorOf(local.dataDir, rows[0]?.job_name ?? ''),
      10_000,
      2,
    );
    process.kill(victim.pid, 'SIGKILL');
    expect((await eventsToEnd(local, sessionId, run.id)).status).toBe('completed');
    const { threadId, attempt } = await getRun(local, run.id);
    expect(attempt).toBe(2);
    const [last] = await modelRequests(local, { thread: threadId ?? '', last: 1 });
    if (last === undefined) throw new Error('the model was not asked');
    expect(userTexts(last).filter((text) => text.includes('PROMPT-fresh-END'))).toHaveLength(1);
    expect(userTexts(last).some((text) => /attempt 2/i.test(text))).toBe(false);
  });

  it('on every attempt ends blocked as a poison turn', async () => {
    const sessionId = await createSession(local, { executionPolicy });
    const { run } = await send(local, sessionId, 'PROMPT-poison-END [[scenario:stages name=poison]]');
    for (let epoch = 1; epoch <= executionPolicy.maxAttempts; epoch += 1) {
      await eventually(`attempt ${epoch} is at the model`, async () => {
        const current = (await getRun(local, run.id)).attempt;
        return current === epoch ? true : undefined;
      });
      await atHold(local, 'poison-first');
      await killRunner(run.id, epoch);
    }
    const { events, status } = await eventsToEnd(local, sessionId, run.id);
    expect(status).toBe('blocked');
    expect(events.filter((event) => event.type === 'terminal_status')).toHaveLength(1);
    expect(await getRun(local, run.id)).toMatchObject({ failureKind: 'poison-turn', attempt: 3 });
    expect((await getResult(local, run.id)).terminalClassification).toMatchObject({
      category: 'blocked',
      confidence: 'high',
    });
    await release(local, 'poison-first', 'poison-middle', 'poison-last');
    // The session is free for the next message.
    const next = await send(local, sessionId, 'PROMPT-next-END [[scenario:echo]]');
    expect((await eventsToEnd(local, sessionId, next.run.id)).status).toBe('completed');
  }, 120_000);
});

describe('a send', () => {
  it('that got 503 and is repeated with its key is executed once', async () => {
    const sessionId = await createSession(local);
    const temporal = stackProcess(local.dataDir, 'temporal');
    const body = { prompt: 'PROMPT-repeated-END [[scenario:echo]]', idempotencyKey: 'repeated-send' };
    process.kill(temporal.pid, 'SIGSTOP');
    try {
      await expect(send(local, sessionId, body.prompt, body)).rejects.toMatchObject({ status: 503 });
    } finally {
      process.kill(temporal.pid, 'SIGCONT');
    }
    const answers = await Promise.all([1, 2].map(() => send(local, sessionId, body.prompt, body)));
    expect(new Set(answers.map((answer) => answer.command.id)).size).toBe(1);
    const runId = answers[0]?.run.id ?? '';
    expect((await eventsToEnd(local, sessionId, runId)).status).toBe('completed');
    const { rows } = await local.db.query('select 1 from commands where session_id = $1', [sessionId]);
    expect(rows).toHaveLength(1);
    await expect(
      send(local, sessionId, 'another body', { idempotencyKey: 'repeated-send' }),
    ).rejects.toMatchObject({ status: 409 });
  }, 60_000);
});
