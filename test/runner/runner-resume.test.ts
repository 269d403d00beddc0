import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { agentRequestSchema } from '../../contract/agent-requests.js';
import type { Resume } from '../../contract/runners.js';
import { createScriptedModelServer, type ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { FakeManager, type FakeRunOptions } from './support/fake-manager.js';
import { type StartedRunner, startRunner } from './support/runner-processes.js';

const resume: Resume = {
  attempt: 2,
  maxAttempts: 3,
  formerFailureKind: 'runner-lost',
  formerReason: 'the process of the runner has ended',
  formerEndedAt: new Date().toISOString(),
  parked: null,
  compact: false,
};

const inputSchema = z.object({
  input: z.array(z.object({ role: z.string().optional(), content: z.unknown().optional() })),
});

/** Turns of real Codex whose runner is lost, and that the next attempt goes on with on the same volume. */
describe('a turn that is resumed', { timeout: 60_000 }, () => {
  let manager: FakeManager;
  let model: ScriptedModelServer;
  const runners: StartedRunner[] = [];

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
    model = await createScriptedModelServer();
  });

  afterEach(async () => {
    // The later first: they share a folder.
    for (const runner of runners.splice(0).toReversed()) await runner.dispose();
    await manager.stop();
    await model.close();
  });

  function start(runId: string, later: { epoch?: number; directory?: string } = {}): StartedRunner {
    const providerUrl = `${model.url}/v1`;
    const runner = startRunner({
      managerUrl: manager.url,
      providerUrl,
      runId,
      backendProfile: 'codex',
      ...later,
    });
    runners.push(runner);
    return runner;
  }

  async function killed(runner: StartedRunner): Promise<void> {
    runner.supervisor.kill('SIGKILL');
    await Promise.all([runner.supervisorExit, runner.agentHostExit]);
  }

  const add = (prompt: string, options: FakeRunOptions = {}) => manager.addRun(prompt, options);
  /** What stands in the last request as a person's words; the scripted model repeats them in its own. */
  const lastInput = () =>
    inputSchema
      .parse(model.requests().at(-1)?.body)
      .input.filter((item) => item.role === 'user')
      .map((item) => JSON.stringify(item.content))
      .join('\n');
  const times = (text: string, marker: string) => text.split(marker).length - 1;

  test('killed with -9 in the middle: prompt and steers stand once in the input of the model', async () => {
    const runId = add('[[scenario:hold name=middle]] MARKER-PROMPT');
    const first = start(runId);
    await manager.event(runId, 'command_execution', (payload) => payload.status === 'completed');
    const taken = manager.steer(runId, 'MARKER-TAKEN');
    await manager.until('the ack', () => manager.run(runId).acknowledged.includes(taken));
    await killed(first);
    manager.steer(runId, 'MARKER-WAITING');
    model.release('middle');
    manager.nextAttempt(runId, { resume });
    start(runId, { epoch: 2, directory: first.directory });
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'completed' });
    for (const marker of [
      'MARKER-PROMPT',
      'MARKER-TAKEN',
      'MARKER-WAITING',
      'This is attempt 2 of at most 3',
    ])
      expect([marker, times(lastInput(), marker)]).toEqual([marker, 1]);
  });

  test('killed after the turn was over and before that was reported: nothing is sent again', async () => {
    const runId = add('[[scenario:echo]] MARKER-PROMPT');
    manager.holdOutcomes = true;
    const first = start(runId);
    await manager.until('the report', () => manager.outcomesHeld > 0);
    const requests = model.requests().length;
    await killed(first);
    manager.holdOutcomes = false;
    manager.nextAttempt(runId, { resume });
    start(runId, { epoch: 2, directory: first.directory });
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'completed' });
    expect(model.requests()).toHaveLength(requests);
    const answers = manager.run(runId).events.filter((event) => event.type === 'agent_message');
    expect(new Set(answers.map((event) => event.payload.itemId)).size).toBe(1);
  });

  test('an approval that a person gave while no runner waited is used without asking, and the command runs once', async () => {
    const runId = add('[[scenario:ask line=once]] MARKER-PROMPT', {
      policy: { approvalPolicy: 'untrusted' },
    });
    const first = start(runId);
    const asked = agentRequestSchema.parse((await manager.event(runId, 'approval_requested')).payload);
    // Parked: the runner goes, the question stays.
    first.supervisor.kill('SIGTERM');
    await Promise.all([first.supervisorExit, first.agentHostExit]);
    expect(manager.run(runId).events.map((event) => event.type)).not.toContain('approval_resolved');
    manager.nextAttempt(runId, {
      resume: { ...resume, parked: 'person' },
      threadId: manager.run(runId).outcome?.threadId ?? null,
      grants: [
        {
          requestId: asked.requestId,
          fingerprint: asked.fingerprint,
          summary: asked.summary,
          resolution: { resolution: 'approved', forSession: false },
        },
      ],
    });
    manager.run(runId).outcome = null;
    const second = start(runId, { epoch: 2, directory: first.directory });
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'completed' });
    expect(lastInput()).toContain('approved');
    // It was broken off and asks for the same again, which is granted at once.
    const { events } = manager.run(runId);
    expect(events.filter((event) => event.type === 'approval_requested')).toHaveLength(1);
    expect(
      events.filter((event) => event.type === 'approval_resolved').map((event) => event.payload),
    ).toEqual([expect.objectContaining({ requestId: asked.requestId, resolution: 'approved' })]);
    expect(readFileSync(join(second.workspace, 'asked'), 'utf8')).toBe('once\n');
  });
});
