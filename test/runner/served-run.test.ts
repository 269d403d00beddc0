import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { AgentRequest } from '../../contract/agent-requests.js';
import type { ProducedEvent } from '../../contract/events.js';
import { encodeId, idPrefixes } from '../../contract/ids.js';
import type { Resume } from '../../contract/runners.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { createRedactor, type Redactor } from '../../infra/telemetry/redaction.js';
import type { DriverListener } from '../../runner/drivers/driver.js';
import { ManagerApi } from '../../runner/supervisor/manager-api.js';
import { ServedRun } from '../../runner/supervisor/served-run.js';
import { stopLimits } from '../../runner/supervisor/stop-limits.js';
import { FakeDriver } from './support/fake-driver.js';
import { FakeManager, fakeCommand } from './support/fake-manager.js';
import { uuidv7Bytes } from './support/uuid-bytes.js';

const canary = 'canary-0123456789abcdefghijklmnop';
const resume: Resume = {
  attempt: 2,
  maxAttempts: 3,
  formerFailureKind: 'runner-lost',
  formerReason: 'its process has ended',
  formerEndedAt: null,
  parked: null,
  compact: false,
};

describe('a run that is served', { timeout: 30_000 }, () => {
  let directory: string;
  let manager: FakeManager;
  let driver: FakeDriver;
  let redactor: Redactor;
  let proxyOpen: boolean;
  let written: string;
  let serving: Promise<unknown> | undefined;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'agentrun-served-'));
    manager = new FakeManager();
    await manager.listen();
    driver = new FakeDriver();
    redactor = createRedactor([canary]);
    proxyOpen = false;
    written = '';
  });

  afterEach(async () => {
    driver.end();
    await serving?.catch(() => undefined);
    serving = undefined;
    await manager.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Claims the run as a new runner instance and serves it, on the folder that all attempts of the test share. */
  async function serve(runId: string, subject = driver) {
    const log = createLogger({
      name: 'test',
      redactor,
      destination: {
        write: (line) => {
          written += line;
        },
      },
    });
    const api = new ManagerApi({ baseUrl: manager.url, launchToken: 'launch', redactor, log });
    await api.register({
      runnerId: 'runner',
      jobId: encodeId(idPrefixes.runnerJob, uuidv7Bytes()),
      backend: 'codex',
      version: '0',
      capabilities: subject.capabilities,
    });
    const { leaseMs } = manager.run(runId).assignment;
    const assignment = await api.claim(runId, { runnerId: 'runner', leaseMs });
    const run = new ServedRun({
      runnerId: 'runner',
      assignment,
      api,
      drivers: {
        driver: subject,
        ready: () => Promise.resolve(subject),
        listen: (target: DriverListener) => subject.listen(target),
        unlisten: () => subject.unlisten(),
      },
      proxy: {
        openTurn: () => {
          proxyOpen = true;
        },
        closeTurn: () => {
          proxyOpen = false;
        },
        lastObservation: null,
      },
      agentHost: { diff: () => Promise.resolve({ diff: '', truncated: false, error: null }) },
      workspaceDirectory: directory,
      supervisorDirectory: directory,
      redactor,
      log,
    });
    const result = run.serve();
    serving = result;
    return { run, result };
  }

  const say = (text: string): ProducedEvent => ({ type: 'agent_message', payload: { itemId: text, text } });
  const sent = () => driver.sent.map((one) => one.messageId);
  const prompted = () => expect.poll(() => driver.calls.includes('prompt'), { timeout: 10_000 }).toBe(true);
  const phases = (runId: string) =>
    manager
      .run(runId)
      .events.flatMap((event) => (event.type === 'backend_status' ? [event.payload.phase] : []));

  test('the first attempt reads no history; the thread is written down before the prompt is sent', async () => {
    const runId = manager.addRun('hello');
    let ledger = '';
    driver.beforePrompt = () => {
      ledger = readFileSync(join(directory, 'runs', runId, 'thread.json'), 'utf8');
    };
    const { result } = await serve(runId);
    await prompted();
    expect(driver.openedWith[0]?.readHistory).toBe(false);
    expect(JSON.parse(ledger)).toEqual({ runId, epoch: 1, threadId: 'thread-new' });
    driver.end();
    expect(await result).toBe('idle');
    expect(manager.run(runId).acknowledged).toEqual([manager.run(runId).commands[0]?.id]);
    expect(manager.run(runId).completions).toEqual([manager.run(runId).lastProducerSeq]);
    // All acknowledged and reported: nothing is left on the volume.
    expect(readdirSync(join(directory, 'runs'))).toEqual([]);
  });

  test('a later attempt whose thread the API never heard of resumes it', async () => {
    const runId = manager.addRun('hello');
    const first = await serve(runId);
    await prompted();
    manager.fenced = true;
    expect(await first.result).toBe('fenced');
    manager.fenced = false;
    manager.nextAttempt(runId, { resume, threadId: null });
    driver = new FakeDriver();
    await serve(runId);
    await prompted();
    expect(driver.openedWith[0]).toMatchObject({ threadId: 'thread-new', readHistory: true });
  });

  test('a prompt that is in the thread is not sent again: a note, then the missing steers in order', async () => {
    const runId = manager.addRun('', { epoch: 2, resume, threadId: 'thread-1' });
    const commands = [
      {
        ...fakeCommand(runId, 1, 'turn', 'MARKER-PROMPT'),
        payload: { prompt: 'MARKER-PROMPT', effort: 'high', outputSchema: { type: 'object' } },
      },
      fakeCommand(runId, 2, 'steer', 'MARKER-ONE'),
      fakeCommand(runId, 3, 'steer', 'MARKER-TWO'),
      fakeCommand(runId, 4, 'steer', 'MARKER-THREE'),
    ];
    manager.run(runId).commands.splice(0, 1, ...commands);
    const [prompt, one, two, three] = commands.map((command) => command.id);
    const ids = [prompt ?? '', one ?? ''];
    driver.opened = {
      threadId: 'thread-1',
      resumed: true,
      history: {
        truncated: false,
        messageIds: new Set(ids),
        lastTurn: {
          end: { status: 'interrupted', failureKind: null, message: null, turnId: 't' },
          messageIds: new Set(ids),
          events: [
            { type: 'user_message', payload: { itemId: 'item-1', commandId: one ?? '', text: 'MARKER-ONE' } },
          ],
        },
      },
    };
    const { result } = await serve(runId);
    await expect.poll(sent, { timeout: 10_000 }).toEqual([`note_${runId}_2`, two, three]);
    const [note] = driver.sent;
    expect(note?.payload.prompt).toContain('attempt 2 of at most 3');
    expect(note?.payload.prompt).not.toContain('MARKER');
    expect(note?.payload).toMatchObject({ effort: 'high', outputSchema: { type: 'object' } });
    driver.end();
    await result;
    const { events, acknowledged } = manager.run(runId);
    const proofs = events.filter((event) => event.type === 'user_message');
    expect(proofs.map((event) => event.payload)).toEqual([
      { itemId: prompt, commandId: prompt, text: 'MARKER-PROMPT' },
      { itemId: 'item-1', commandId: one, text: 'MARKER-ONE' },
    ]);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'steer_delivery', payload: { commandId: one, delivery: 'delivered' } }),
    );
    expect(new Set(acknowledged)).toEqual(new Set([prompt, one, two, three]));
  });

  test('a turn that was over is settled from the history, also when a cancel came since', async () => {
    for (const cancelled of [false, true]) {
      const runId = manager.addRun('hello', { epoch: 2, resume, threadId: 'thread-1' });
      const prompt = manager.run(runId).commands[0]?.id ?? '';
      driver.opened = {
        threadId: 'thread-1',
        resumed: true,
        history: {
          truncated: false,
          messageIds: new Set([prompt]),
          lastTurn: {
            end: { status: 'completed', failureKind: null, message: null, turnId: 'turn-7' },
            messageIds: new Set([prompt]),
            events: [say('the answer')],
          },
        },
      };
      if (cancelled) manager.cancel(runId, 'late');
      const { result } = await serve(runId);
      expect(await result).toBe('idle');
      expect(driver.sent).toEqual([]);
      expect(manager.run(runId).outcome).toMatchObject({ terminalStatus: 'completed', turnId: 'turn-7' });
      expect(manager.run(runId).events).toContainEqual(expect.objectContaining(say('the answer')));
    }
  });

  test('the context is compacted before the turn when the former attempt found it full', async () => {
    const runId = manager.addRun('hello', {
      epoch: 2,
      resume: { ...resume, compact: true },
      threadId: 'thread-1',
    });
    driver.opened = {
      threadId: 'thread-1',
      resumed: true,
      history: { truncated: false, messageIds: new Set(), lastTurn: null },
    };
    await serve(runId);
    await prompted();
    expect(driver.calls).toEqual(['compact', 'prompt']);
  });

  test('what the API did not take is uploaded by the next attempt, exactly', async () => {
    const runId = manager.addRun('hello', { leaseMs: 60_000 });
    const first = await serve(runId);
    await prompted();
    driver.listener.onEvent(say('stored'));
    await manager.event(runId, 'agent_message');
    manager.down = true;
    driver.listener.onEvent(say(`lost ${canary}`));
    driver.listener.onEvent(say('lost too'));
    const stored = manager.run(runId).lastProducerSeq;
    // What a kill leaves is what is on the volume now.
    const spill = readFileSync(join(directory, 'runs', runId, 'events-1.ndjson'), 'utf8');
    expect(spill).toContain('lost too');
    expect(spill).not.toContain(canary);
    first.run.stop();
    expect(await first.result).toBe('not-reported');
    manager.down = false;
    manager.nextAttempt(runId, { resume, threadId: 'thread-new' });
    driver = new FakeDriver();
    const second = await serve(runId);
    await prompted();
    driver.listener.onEvent(say('later'));
    driver.end();
    expect(await second.result).toBe('idle');
    const spilled = manager.run(runId).spilled;
    expect(spilled.map((one) => [one.epoch, one.line.seq])).toEqual(
      spilled.map((_one, index) => [1, stored + 1 + index]),
    );
    expect(spilled.slice(0, 2).map((one) => one.line.event.payload.text)).toEqual([
      'lost [redacted]',
      'lost too',
    ]);
    expect(existsSync(join(directory, 'runs', runId))).toBe(false);
  });

  test('an outage shorter than the bound restarts nothing: the agent goes on, and all is uploaded after', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000, policy: { partitionGraceMs: 16_000 } });
    const { result } = await serve(runId);
    await prompted();
    await manager.until('a heartbeat', () => manager.run(runId).heartbeats > 0);
    for (const mode of ['down', 'unavailable'] as const) {
      manager[mode] = true;
      const before = manager.run(runId).heartbeats;
      for (let index = 0; index < 20; index += 1) driver.listener.onEvent(say(`${mode} ${index}`));
      // Longer than the lease; the bound is 13 s.
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(manager.run(runId).heartbeats).toBe(before);
      expect([driver.calls, proxyOpen]).toEqual([['prompt'], true]);
      manager[mode] = false;
      await manager.until('a heartbeat', () => manager.run(runId).heartbeats > before);
    }
    driver.end();
    expect(await result).toBe('idle');
    const said = manager.run(runId).events.filter((event) => event.type === 'agent_message');
    expect(said.map((event) => event.payload.text)).toEqual(
      ['down', 'unavailable'].flatMap((mode) => Array.from({ length: 20 }, (_, index) => `${mode} ${index}`)),
    );
  });

  test('an outage beyond the bound: interrupt, kill, the proxy refuses, nothing is written any more', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000, policy: { partitionGraceMs: 1_000 } });
    driver.deaf = true;
    const { result } = await serve(runId);
    await prompted();
    manager.down = true;
    driver.listener.onEvent(say('not uploaded'));
    const startedAt = performance.now();
    expect(await result).toBe('fenced');
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(driver.calls).toEqual(['prompt', 'interrupt', 'kill']);
    expect(proxyOpen).toBe(false);
    manager.down = false;
    const { length } = manager.authorizations;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(manager.authorizations).toHaveLength(length);
    expect(manager.run(runId).outcome).toBeNull();
    // It waits for the next attempt.
    expect(readFileSync(join(directory, 'runs', runId, 'events-1.ndjson'), 'utf8')).toContain('not uploaded');
  });

  test('a run token that an outage has outlived: the runner token brings a new one, and all goes on', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000 });
    const { result } = await serve(runId);
    await prompted();
    const steer = manager.steer(runId, 'more');
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(steer));
    manager.firstGoodRunToken = manager.run(runId).heartbeats + 1;
    driver.listener.onEvent(say('under a dead token'));
    const another = manager.steer(runId, 'even more');
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(another));
    driver.end();
    expect(await result).toBe('idle');
    expect(manager.run(runId).events.map((event) => event.payload.text)).toContain('under a dead token');
    expect(manager.authorizations).toContain('Bearer runner-token-1');
    expect(written).not.toContain('runner-token-1');
  });

  test('a replica that lacks the new key for a while refuses fresh tokens too: the attempt goes on, and the log says so', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000 });
    const { result } = await serve(runId);
    await prompted();
    manager.refusedIngests = 5;
    driver.listener.onEvent(say('while keys were replaced'));
    await manager.until('the event', () => JSON.stringify(manager.run(runId).events).includes('keys were'));
    driver.end();
    expect(await result).toBe('idle');
    expect(written.match(/a fresh token is refused/g)).toHaveLength(2);
  });

  test('an answer in no envelope, as a gateway gives it while the API is away, fences nobody', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000 });
    const { result } = await serve(runId);
    await prompted();
    manager.gateway = 404;
    driver.listener.onEvent(say('kept'));
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    manager.gateway = null;
    driver.end();
    expect(await result).toBe('idle');
    expect(manager.run(runId).events).toContainEqual(expect.objectContaining(say('kept')));
  });

  test('a question: waiting in the heartbeats, a steer passes, only the answer resolves it', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000, policy: { approvalPolicy: 'on-request' } });
    const { result } = await serve(runId);
    await prompted();
    driver.listener.onRequest(request);
    await manager.event(runId, 'approval_requested');
    await manager.until('waiting', () => manager.run(runId).progress.at(-1)?.phase === 'waiting');
    const steer = manager.steer(runId, 'yes');
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(steer));
    expect(driver.answers).toEqual([]);
    const answer = manager.answer(runId, {
      requestId: request.requestId,
      decision: 'approve',
      text: null,
      answers: null,
    });
    await manager.event(runId, 'approval_resolved', (payload) => payload.resolution === 'approved');
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(answer));
    await manager.until('running', () => manager.run(runId).progress.at(-1)?.phase === 'running');
    expect(driver.answers).toEqual([
      { requestId: request.requestId, resolution: { resolution: 'approved', forSession: false } },
    ]);
    driver.end();
    await result;
  });

  test('a question that nobody answers is expired by its record', async () => {
    const runId = manager.addRun('hello', {
      policy: { approvalPolicy: 'on-request', approvalTimeoutMs: 1 },
    });
    await serve(runId);
    await prompted();
    driver.listener.onRequest(request);
    await manager.until('an expiry', () => manager.run(runId).expired.includes(request.requestId));
    manager.run(runId).expireAnswer = { resolution: 'timed-out' };
    await manager.event(runId, 'approval_resolved', (payload) => payload.resolution === 'timed-out');
    expect(driver.answers[0]?.resolution).toEqual({ resolution: 'timed-out' });
  });

  test('SIGTERM with 500 events that wait: all of them and the end of the stream are stored within the grace', async () => {
    const runId = manager.addRun('hello');
    const { run, result } = await serve(runId);
    await prompted();
    manager.holdEvents = true;
    for (let index = 1; index <= 500; index += 1) driver.listener.onEvent(say(`event ${index}`));
    await expect.poll(() => written, { timeout: 5_000 }).toContain('events were not taken');
    const startedAt = performance.now();
    run.stop();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(manager.run(runId).outcome).toBeNull();
    manager.holdEvents = false;
    expect(await result).toBe('idle');
    expect(performance.now() - startedAt).toBeLessThan(stopLimits.reportMs);
    const { events, completions, lastProducerSeq } = manager.run(runId);
    expect(events.flatMap(({ type, payload }) => (type === 'agent_message' ? [payload.text] : []))).toEqual(
      Array.from({ length: 500 }, (_, index) => `event ${index + 1}`),
    );
    expect(completions).toEqual([lastProducerSeq]);
    expect(existsSync(join(directory, 'runs', runId))).toBe(false);
  });

  test('SIGTERM while the API takes nothing: it leaves in time and says how many events it leaves on the storage', async () => {
    const runId = manager.addRun('hello');
    const { run, result } = await serve(runId);
    await prompted();
    await expect.poll(() => manager.run(runId).events.length).toBeGreaterThan(0);
    manager.holdEvents = true;
    for (let index = 1; index <= 500; index += 1) driver.listener.onEvent(say(`event ${index}`));
    const startedAt = performance.now();
    run.stop();
    expect(await result).toBe('not-reported');
    expect(performance.now() - startedAt).toBeLessThan(stopLimits.reportMs + 700);
    const line = written.split('\n').find((one) => one.includes('events were not uploaded')) ?? '{}';
    const { remaining } = z.object({ remaining: z.number() }).parse(JSON.parse(line));
    expect(remaining).toBeGreaterThanOrEqual(500);
    expect(readFileSync(join(directory, 'runs', runId, 'events-1.ndjson'), 'utf8')).toContain('event 500');
  });

  test('SIGTERM while a person is awaited keeps the question', async () => {
    const runId = manager.addRun('hello', { policy: { approvalPolicy: 'on-request' } });
    const { run, result } = await serve(runId);
    await prompted();
    driver.listener.onRequest(request);
    driver.interrupt = () => {
      driver.listener.onRequestClosed(request.requestId);
      driver.end({ status: 'interrupted' });
      return Promise.resolve(true);
    };
    run.stop();
    expect(await result).toBe('idle');
    expect(manager.run(runId).outcome).toMatchObject({ failureKind: 'runner-evicted' });
    const types = manager.run(runId).events.map((event) => event.type);
    expect(types).toContain('approval_requested');
    expect(types).not.toContain('approval_resolved');
  });

  test('the steps of a cancel with a deadline are events, and all come before the outcome', async () => {
    const runId = manager.addRun('hello');
    driver.deaf = true;
    const { result } = await serve(runId);
    await prompted();
    const startedAt = performance.now();
    manager.cancel(runId, `because of ${canary}`, 1_500);
    expect(await result).toBe('idle');
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    expect(manager.run(runId).outcome).toMatchObject({
      terminalStatus: 'cancelled',
      failureMessage: 'because of [redacted]',
    });
    expect(phases(runId).filter((phase) => phase !== 'thread-opened' && phase !== 'boot')).toEqual([
      'interrupt-sent',
      'interrupt-answered',
      'process-group-killed',
      'turn-cancelled',
    ]);
  });

  test('a cancel that comes before the agent is there: nothing is sent', async () => {
    const runId = manager.addRun('hello');
    manager.cancel(runId, 'never mind');
    let open: () => void = () => undefined;
    driver.openThread = async (thread) => {
      await new Promise<void>((resolve) => {
        open = resolve;
      });
      driver.openedWith.push(thread);
      return driver.opened;
    };
    const { result } = await serve(runId);
    await expect.poll(() => driver.calls).toContain('interrupt');
    open();
    expect(await result).toBe('idle');
    expect(driver.sent).toEqual([]);
    expect(manager.run(runId).outcome?.terminalStatus).toBe('cancelled');
  });

  test('output is seen when the agent says something, not when its thread opens', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000 });
    await serve(runId);
    await prompted();
    driver.listener.onEvent({
      type: 'user_message',
      payload: { itemId: 'i', commandId: 'c', text: 'hello' },
    });
    driver.listener.onActivity();
    const beats = manager.run(runId).heartbeats;
    await manager.until('a heartbeat', () => manager.run(runId).heartbeats > beats);
    expect(manager.run(runId).progress.at(-1)).toMatchObject({ outputSeen: false, phase: 'running' });
    driver.listener.onEvent(say('hi'));
    await manager.until('output', () => manager.run(runId).progress.at(-1)?.outputSeen);
  });

  test('an answer that a former agent was told is not given to the next one, whatever the API heard of it', async () => {
    const runId = manager.addRun('hello', { policy: { approvalPolicy: 'on-request' }, leaseMs: 60_000 });
    const first = await serve(runId);
    await prompted();
    driver.listener.onRequest(request);
    await manager.event(runId, 'approval_requested');
    let ledger = '';
    driver.answer = () => {
      ledger = readFileSync(join(directory, 'runs', runId, 'told.ndjson'), 'utf8');
      // From here on the API hears nothing: what is in the folder is all there is.
      manager.down = true;
      return Promise.resolve();
    };
    const { requestId } = request;
    manager.answer(runId, { requestId, decision: 'approve', text: null, answers: null });
    await expect.poll(() => ledger).toContain(requestId);
    first.run.stop();
    await first.result;
    manager.down = false;
    const other = {
      ...request,
      requestId: encodeId(idPrefixes.agentRequest, uuidv7Bytes()),
      fingerprint: 'g',
    };
    const grants = [request, other].map(({ requestId: id, fingerprint }) => ({
      requestId: id,
      fingerprint,
      summary: `grant ${fingerprint}`,
      resolution: { resolution: 'approved', forSession: false } as const,
    }));
    manager.nextAttempt(runId, { resume, threadId: 'thread-new', grants });
    const prompt = manager.run(runId).commands[0]?.id ?? '';
    driver = new FakeDriver();
    driver.opened = {
      threadId: 'thread-new',
      resumed: true,
      history: { truncated: false, messageIds: new Set([prompt]), lastTurn: null },
    };
    await serve(runId);
    await prompted();
    expect(driver.sent[0]?.payload.prompt).toContain('grant g');
    expect(driver.sent[0]?.payload.prompt).not.toContain('grant f');
    for (const asked of [request, other])
      driver.listener.onRequest({
        ...asked,
        requestId: encodeId(idPrefixes.agentRequest, uuidv7Bytes()),
      });
    await expect.poll(() => driver.answers.length).toBe(1);
    await manager.event(
      runId,
      'approval_requested',
      (payload) => payload.fingerprint === 'f' && payload.requestId !== requestId,
    );
  });

  test('no outcome is reported while events wait, and all of them come first', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    manager.holdEvents = true;
    driver.listener.onEvent(say('the last word'));
    driver.end();
    const beats = manager.run(runId).heartbeats;
    await manager.until('heartbeats', () => manager.run(runId).heartbeats > beats + 2);
    expect(manager.run(runId).outcome).toBeNull();
    manager.holdEvents = false;
    expect(await result).toBe('idle');
    expect(manager.run(runId).events).toContainEqual(expect.objectContaining(say('the last word')));
  });

  test('an outcome that the API refuses for good leaves the folder as it is', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    manager.refusedOutcomes = 2;
    driver.end();
    expect(await result).toBe('refused');
    expect(existsSync(join(directory, 'runs', runId, 'thread.json'))).toBe(true);
  });

  test('an outcome whose words cannot be stored keeps its kind', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    manager.refusedOutcomes = 1;
    driver.end({ status: 'failed', failureKind: 'provider-auth', message: 'words' });
    expect(await result).toBe('idle');
    expect(manager.run(runId).outcome).toMatchObject({ failureKind: 'provider-auth' });
  });

  test('a steer that was withdrawn while the turn could not take it is not sent', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    driver.steerAnswers.push({ answer: 'notSteerable' });
    const withdrawn = manager.steer(runId, 'no');
    await expect.poll(sent).toContain(withdrawn);
    const { commands } = manager.run(runId);
    const at = commands.findIndex((command) => command.id === withdrawn);
    commands.splice(
      at,
      1,
      ...commands.slice(at, at + 1).map((one) => ({ ...one, state: 'cancelled' as const })),
    );
    const next = manager.steer(runId, 'yes');
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(next));
    expect(sent().filter((id) => id === withdrawn)).toHaveLength(1);
    driver.end();
    await result;
  });

  test('a steer whose answer is unknown is not sent again, and acknowledged when it is seen', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    driver.steerAnswers.push({ answer: 'unknown' });
    const steer = manager.steer(runId, 'once');
    await expect.poll(sent).toContain(steer);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(manager.run(runId).acknowledged).not.toContain(steer);
    driver.listener.onEvent({
      type: 'user_message',
      payload: { itemId: 'i', commandId: steer, text: 'once' },
    });
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(steer));
    expect(sent().filter((id) => id === steer)).toHaveLength(1);
    driver.end();
    await result;
  });

  test.each([
    ['never answers', () => new Promise<boolean>(() => undefined)],
    ['says no', () => Promise.resolve(false)],
  ])('an agent whose background %s after the turn is killed, in bounded time', async (_name, cleanUp) => {
    const runId = manager.addRun('hello');
    driver.cleanUp = cleanUp;
    const { result } = await serve(runId);
    await prompted();
    const startedAt = performance.now();
    driver.end();
    expect(await result).toBe('idle');
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(driver.calls).toEqual(['prompt', 'kill']);
  });

  test('an agent without ids: that it is about to get the prompt is written down first, and it gets it once', async () => {
    const capabilities = { ...driver.capabilities, messageIds: false };
    const runId = manager.addRun('once', { leaseMs: 60_000 });
    driver = Object.assign(new FakeDriver(), { capabilities });
    let ledger = '';
    driver.beforePrompt = () => {
      ledger = readFileSync(join(directory, 'runs', runId, 'thread.json'), 'utf8');
      // Neither the acknowledgement nor an event comes through.
      manager.down = true;
    };
    const first = await serve(runId);
    await prompted();
    expect(JSON.parse(ledger)).toMatchObject({ handedOver: true });
    first.run.stop();
    await first.result;
    manager.down = false;
    manager.nextAttempt(runId, { resume });
    driver = Object.assign(new FakeDriver(), { capabilities });
    const second = await serve(runId);
    await second.result;
    expect(driver.sent).toEqual([]);
    expect(manager.run(runId).outcome).toMatchObject({ failureKind: 'runner-lost' });
  });

  test('live text: only for who watches, with the events before it, and none of an item that has its event', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    const write = (itemId: string, text: string) =>
      driver.listener.onText?.({ itemId, text, restarts: false });
    const { deltas } = manager.run(runId);
    write('one', 'nobody reads ');
    driver.listener.onEvent({ type: 'agent_message', payload: { itemId: 'one', text: 'nobody reads this' } });
    write('two', `the key is ${canary.slice(0, 10)}`);
    await manager.event(runId, 'agent_message');
    manager.watch(runId, true);
    await manager.until('the first text', () => deltas.length > 0);
    write('two', `${canary.slice(10)} and `);
    await manager.until('the second text', () => deltas.length > 1);
    const after = manager.run(runId).lastProducerSeq;
    expect(deltas.map(({ body }) => body)).toEqual([
      { after, deltas: [{ itemId: 'two', offset: 0, text: 'the key is ' }] },
      { after, deltas: [{ itemId: 'two', offset: 11, text: '[redacted] and ' }] },
    ]);
    manager.watch(runId, false);
    await manager.until('a heartbeat', () => manager.run(runId).heartbeats > 0);
    write('two', 'more and more '.repeat(400));
    driver.listener.onEvent(say('the end'));
    await manager.event(runId, 'agent_message', (payload) => payload.text === 'the end');
    driver.end();
    await result;
    // The one that was under way when the last reader left.
    expect(deltas.length).toBeLessThanOrEqual(3);
    expect(JSON.stringify(deltas)).not.toContain(canary.slice(0, 10));
  });

  test('a note that a request is tried again, and what it cost, are no signs of life', async () => {
    const runId = manager.addRun('hello', { leaseMs: 1_000 });
    await serve(runId);
    await prompted();
    const beat = async () => {
      const beats = manager.run(runId).heartbeats;
      await manager.until('a heartbeat', () => manager.run(runId).heartbeats > beats + 1);
      return manager.run(runId).progress.at(-1);
    };
    const before = await beat();
    driver.listener.onEvent({ type: 'error', payload: { message: 'once more', willRetry: true } });
    driver.listener.onEvent({ type: 'usage', payload: { source: 'proxy', httpStatus: 503 } });
    await manager.event(runId, 'usage');
    expect(await beat()).toEqual(before);
    driver.listener.onEvent(say('hi'));
    expect((await beat())?.lastEventAt).not.toBe(before?.lastEventAt);
  });

  test('the provider evidence of a failure is in the outcome, without its secret', async () => {
    const runId = manager.addRun('hello');
    const { result } = await serve(runId);
    await prompted();
    driver.end({
      status: 'failed',
      failureKind: 'provider-auth',
      message: `bad key ${Buffer.from(canary).toString('base64')}`,
      provider: { evidence: 'both', status: 401, errorCode: canary, agentErrorInfo: null, resetAt: null },
    });
    await result;
    expect(manager.run(runId).outcome).toMatchObject({
      failureKind: 'provider-auth',
      failureMessage: 'bad key [redacted]',
      provider: { evidence: 'both', status: 401, errorCode: '[redacted]' },
    });
  });
});

const request: AgentRequest = {
  requestId: encodeId(idPrefixes.agentRequest, uuidv7Bytes()),
  kind: 'command',
  itemId: null,
  summary: 'run it',
  command: 'make deploy',
  cwd: null,
  reason: null,
  details: null,
  questions: [],
  fingerprint: 'f',
};
