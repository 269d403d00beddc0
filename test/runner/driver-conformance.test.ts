import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { driverKind } from '../../runner/drivers/create-driver.js';
import type { AgentDriver } from '../../runner/drivers/driver.js';
import { DriverRig } from './support/driver-rig.js';

/** What each kind of agent has to be told to behave in the ways that the suite is about. */
const kinds = [
  {
    kind: 'codex',
    quick: '[[scenario:echo]] hello conformance',
    slow: '[[scenario:sleep seconds=60]] sleep',
    failing: '[[scenario:fail kind=bad_request]] go',
    failureKind: 'provider-rejected',
    lostThread: '01a1fb4c-db3f-7bb0-8f00-000000000000',
  },
  {
    kind: 'command',
    quick: 'echo hello conformance',
    slow: 'sleep 60',
    failing: 'echo oh; exit 3',
    failureKind: 'agent-error',
    lostThread: 'command-lost',
  },
] as const;

/** A command that the agent asks leave for; told only to agents that ask. */
const asking = {
  name: 'asking',
  steps: [
    {
      toolCalls: [
        {
          name: 'exec_command',
          arguments: {
            cmd: 'echo ran >> ran.txt',
            sandbox_permissions: 'require_escalated',
            justification: 'to see it run',
          },
        },
      ],
    },
    { text: 'after the question' },
  ],
};

describe.each(kinds)(
  'the $kind driver',
  { timeout: 40_000 },
  ({ kind, quick, slow, failing, failureKind, lostThread }) => {
    const { capabilities } = driverKind(kind);
    const fresh = { threadId: null, approvalPolicy: 'never', readHistory: false } as const;
    let rig: DriverRig;
    let driver: AgentDriver;

    beforeEach(async () => {
      rig = await DriverRig.open(kind, { scenarios: [asking] });
      driver = await rig.driver();
    });

    afterEach(() => rig.close());

    const commandBegun = () => rig.event('command_execution');

    test('a turn: the prompt is in the thread, the answer is told, the end is told once', async () => {
      await driver.openThread(fresh);
      const { turnId } = await driver.prompt('cmd_one', { prompt: quick });
      await rig.turnEnd();
      expect(rig.ends).toEqual([{ status: 'completed', failureKind: null, message: null, turnId }]);
      expect(rig.events.find((event) => event.type === 'user_message')?.payload.commandId).toBe('cmd_one');
      expect(rig.events.find((event) => event.type === 'agent_message')?.payload.text).toContain(
        'hello conformance',
      );
      expect(rig.notifications).toBeGreaterThan(0);
    });

    test('a second turn on the same thread', async () => {
      const { threadId } = await driver.openThread(fresh);
      await driver.prompt('cmd_one', { prompt: quick });
      await rig.turnEnd();
      expect(
        await driver.openThread({ threadId, approvalPolicy: 'never', readHistory: false }),
      ).toMatchObject({ threadId, resumed: true });
      await driver.prompt('cmd_two', { prompt: quick });
      await rig.turnEnd(2);
      expect(rig.ends.map((end) => end.status)).toEqual(['completed', 'completed']);
      expect(rig.ends[0]?.turnId).not.toBe(rig.ends[1]?.turnId);
    });

    test('an interrupt ends the turn, also when it is asked for twice at once and once more after it', async () => {
      await driver.openThread(fresh);
      await driver.prompt('cmd_one', { prompt: slow });
      await commandBegun();
      expect(await Promise.all([driver.interrupt(), driver.interrupt()])).toEqual([true, true]);
      expect((await rig.turnEnd())?.status).toBe('interrupted');
      expect(await driver.interrupt()).toBe(true);
      expect(await driver.cleanUp()).toBe(true);
      await driver.prompt('cmd_two', { prompt: quick });
      await rig.turnEnd(2);
      expect(rig.ends[1]?.status).toBe('completed');
    });

    test('a failure is told with its kind, and the driver takes the next turn', async () => {
      await driver.openThread(fresh);
      await driver.prompt('cmd_one', { prompt: failing });
      expect(await rig.turnEnd()).toMatchObject({ status: 'failed', failureKind });
      await driver.prompt('cmd_two', { prompt: quick });
      expect(await rig.turnEnd(2)).toMatchObject({ status: 'completed' });
    });

    test('a steer is taken or refused as the capabilities say', async () => {
      await driver.openThread(fresh);
      expect(await driver.steer('cmd_early', { prompt: 'early' })).toEqual({ answer: 'noActiveTurn' });
      await driver.prompt('cmd_one', { prompt: slow });
      await commandBegun();
      const { answer } = await driver.steer('cmd_steer', { prompt: 'now' });
      expect(answer).toBe(capabilities.steer ? 'accepted' : 'notSteerable');
      await driver.interrupt();
      await rig.turnEnd();
      expect(await driver.steer('cmd_late', { prompt: 'late' })).toEqual({ answer: 'noActiveTurn' });
    });

    test('a killed agent ends its turn', async () => {
      await driver.openThread(fresh);
      await driver.prompt('cmd_one', { prompt: slow });
      await commandBegun();
      driver.kill();
      expect(await rig.turnEnd()).toMatchObject({ status: 'failed', failureKind: 'agent-error' });
    });

    test('after a kill the next driver opens the thread, and knows what it holds if the agent keeps ids', async () => {
      const { threadId } = await driver.openThread(fresh);
      await driver.prompt('cmd_one', { prompt: slow });
      await commandBegun();
      driver.kill();
      await rig.turnEnd();
      const next = await rig.driver();
      const opened = await next.openThread({ threadId, approvalPolicy: 'never', readHistory: true });
      expect(opened).toMatchObject({ threadId, resumed: true });
      if (capabilities.messageIds) {
        expect(opened.history?.messageIds).toEqual(new Set(['cmd_one']));
        expect(opened.history?.lastTurn).toMatchObject({ end: { status: 'interrupted' } });
      } else {
        expect(opened.history).toBeNull();
      }
      await next.prompt('cmd_two', { prompt: quick });
      expect(await rig.turnEnd(2)).toMatchObject({ status: 'completed' });
    });

    test('room is made in a thread that has none to give, and nothing comes of it', async () => {
      await driver.openThread(fresh);
      await driver.prompt('cmd_one', { prompt: quick });
      await rig.turnEnd();
      await driver.compact();
      await driver.prompt('cmd_two', { prompt: quick });
      expect(await rig.turnEnd(2)).toMatchObject({ status: 'completed' });
    });

    test('an answer that nobody waits for is ignored', async () => {
      await driver.openThread(fresh);
      await driver.answer('req_00000000000000000000000000', { resolution: 'approved', forSession: false });
    });

    describe.runIf(capabilities.approvals)('asks a person', () => {
      test.each([
        [{ resolution: 'approved', forSession: false } as const, true],
        [{ resolution: 'denied', text: null } as const, false],
        [{ resolution: 'timed-out' } as const, false],
      ])('%j', async (resolution, ran) => {
        await driver.openThread({ ...fresh, approvalPolicy: 'on-request' });
        await driver.prompt('cmd_one', { prompt: '[[scenario:asking]] go' });
        const request = await rig.request();
        expect(request).toMatchObject({ kind: 'command', reason: 'to see it run' });
        await driver.answer(request.requestId, resolution);
        await driver.answer(request.requestId, resolution);
        expect(await rig.turnEnd()).toMatchObject({ status: 'completed' });
        expect(existsSync(join(rig.directory, 'workspace', 'ran.txt'))).toBe(ran);
        expect(rig.closedRequests).toEqual([]);
      });
    });

    if (kind === 'command') {
      test('a flood of output passes and only its end is kept', async () => {
        await driver.openThread(fresh);
        await driver.prompt('cmd_one', { prompt: "head -c 40000000 /dev/zero | tr '\\0' x; echo the end" });
        await rig.turnEnd();
        const output = rig.events.findLast((event) => event.type === 'command_execution')?.payload.output;
        expect(output).toMatch(/^x+the end\n$/);
        expect(String(JSON.stringify(output)).length).toBeLessThan(70_000);
      });
    }

    test('a thread that nobody remembers does not stop the turn', async () => {
      await driver.openThread({ ...fresh, threadId: lostThread, readHistory: true });
      await driver.prompt('cmd_one', { prompt: quick });
      expect(await rig.turnEnd()).toMatchObject({ status: 'completed' });
    });
  },
);
