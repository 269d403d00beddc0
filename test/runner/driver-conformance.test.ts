import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ProducedEvent } from '../../contract/events.js';
import { producedEventSchema } from '../../contract/events.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { driverKind } from '../../runner/drivers/create-driver.js';
import type { AgentDriver, TurnEnd } from '../../runner/drivers/driver.js';
import { ProviderProxy } from '../../runner/proxy/provider-proxy.js';
import { AgentHostConnection } from '../../runner/supervisor/agent-host-connection.js';
import { createScriptedModelServer, type ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { requirePrograms } from './support/runner-processes.js';

/** What each kind of agent has to be told to behave in the ways that the suite is about. */
const kinds = [
  {
    kind: 'codex',
    quick: '[[scenario:echo]] hello conformance',
    slow: '[[scenario:sleep seconds=60]] sleep',
    failing: '[[scenario:fail kind=bad_request]] go',
    failureKind: 'provider-rejected',
  },
  {
    kind: 'command',
    quick: 'echo hello conformance',
    slow: 'sleep 60',
    failing: 'echo oh; exit 3',
    failureKind: 'agent-error',
  },
] as const;

const log = { info: () => undefined, warn: () => undefined };

beforeAll(() => requirePrograms());

describe.each(kinds)(
  'the $kind driver',
  { timeout: 40_000 },
  ({ kind, quick, slow, failing, failureKind }) => {
    let directory: string;
    let agentHost: ChildProcess;
    let connection: AgentHostConnection;
    let proxy: ProviderProxy;
    let model: ScriptedModelServer;
    let driver: AgentDriver;
    let events: ProducedEvent[];
    let ends: TurnEnd[];

    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), 'agentrun-driver-'));
      const workspaceDirectory = join(directory, 'workspace');
      const agentHomeDirectory = join(directory, 'home');
      for (const folder of [workspaceDirectory, agentHomeDirectory]) mkdirSync(folder);
      const socket = join(directory, 'agent-host.sock');
      agentHost = spawn(process.execPath, [join(packageRoot(), 'dist', 'runner', 'agent-host', 'main.js')], {
        stdio: 'ignore',
        env: { PATH: process.env.PATH ?? '', AGENTRUN_AGENT_HOST_SOCKET: socket },
      });
      model = await createScriptedModelServer();
      proxy = new ProviderProxy({
        upstreamBaseUrl: `${model.url}/v1`,
        key: 'sk-x',
        onObservation: () => undefined,
        onProgress: () => undefined,
        log,
      });
      await proxy.listen();
      proxy.openTurn();
      connection = await AgentHostConnection.open(socket, 15_000, log);
      events = [];
      ends = [];
      driver = driverKind(kind).create({
        processes: connection,
        log,
        workspaceDirectory,
        agentHomeDirectory,
        provider: { baseUrl: proxy.baseUrl, placeholderKey: proxy.placeholderKey, model: 'gpt-5-codex' },
        lastObservation: () => proxy.lastObservation,
        listener: {
          onEvent: (event) => events.push(producedEventSchema.parse(event)),
          onActivity: () => undefined,
          onRequest: () => undefined,
          onRequestClosed: () => undefined,
          onTurnEnd: (end) => ends.push(end),
        },
      });
      await driver.start();
    });

    afterEach(async () => {
      await driver.close();
      const gone = new Promise((resolve) => agentHost.once('exit', resolve));
      connection.close();
      await gone;
      await proxy.close();
      await model.close();
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    });

    const turnEnd = (count = 1) => expect.poll(() => ends.length, { timeout: 20_000 }).toBe(count);

    test('a turn: the prompt is in the thread, the answer is told, the end is told once', async () => {
      await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
      const { turnId } = await driver.prompt('cmd_one', { prompt: quick });
      await turnEnd();
      expect(ends).toEqual([{ status: 'completed', failureKind: null, message: null, turnId }]);
      expect(events.find((event) => event.type === 'user_message')?.payload.commandId).toBe('cmd_one');
      expect(events.find((event) => event.type === 'agent_message')?.payload.text).toContain(
        'hello conformance',
      );
    });

    test('a second turn on the same thread', async () => {
      const { threadId } = await driver.openThread({
        threadId: null,
        approvalPolicy: 'never',
        readHistory: false,
      });
      await driver.prompt('cmd_one', { prompt: quick });
      await turnEnd();
      expect(
        await driver.openThread({ threadId, approvalPolicy: 'never', readHistory: false }),
      ).toMatchObject({ threadId, resumed: true });
      await driver.prompt('cmd_two', { prompt: quick });
      await turnEnd(2);
      expect(ends.map((end) => end.status)).toEqual(['completed', 'completed']);
      expect(ends[0]?.turnId).not.toBe(ends[1]?.turnId);
    });

    test('an interrupt ends the turn', async () => {
      await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
      await driver.prompt('cmd_one', { prompt: slow });
      await expect
        .poll(() => events.some((event) => event.type === 'command_execution'), { timeout: 20_000 })
        .toBe(true);
      await driver.interrupt();
      await turnEnd();
      expect(ends[0]?.status).toBe('interrupted');
      await driver.interrupt();
    });

    test('a failure is told with its kind, and the driver takes the next turn', async () => {
      await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
      await driver.prompt('cmd_one', { prompt: failing });
      await turnEnd();
      expect(ends[0]).toMatchObject({ status: 'failed', failureKind });
      await driver.prompt('cmd_two', { prompt: quick });
      await turnEnd(2);
      expect(ends[1]?.status).toBe('completed');
    });

    test('a steer is taken or refused as the capabilities say', async () => {
      await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
      expect(await driver.steer('cmd_early', { prompt: 'early' })).toEqual({ answer: 'noActiveTurn' });
      await driver.prompt('cmd_one', { prompt: slow });
      await expect
        .poll(() => events.some((event) => event.type === 'command_execution'), { timeout: 20_000 })
        .toBe(true);
      const { answer } = await driver.steer('cmd_steer', { prompt: 'now' });
      expect(answer).toBe(driver.capabilities.steer ? 'accepted' : 'notSteerable');
      await driver.interrupt();
      await turnEnd();
      expect(await driver.steer('cmd_late', { prompt: 'late' })).toEqual({ answer: 'noActiveTurn' });
    });

    test('a killed agent ends its turn', async () => {
      await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
      await driver.prompt('cmd_one', { prompt: slow });
      await expect
        .poll(() => events.some((event) => event.type === 'command_execution'), { timeout: 20_000 })
        .toBe(true);
      driver.kill();
      await turnEnd();
      expect(ends[0]).toMatchObject({ status: 'failed', failureKind: 'agent-error' });
    });

    if (kind === 'command') {
      test('a flood of output passes and only its end is kept', async () => {
        await driver.openThread({ threadId: null, approvalPolicy: 'never', readHistory: false });
        await driver.prompt('cmd_one', { prompt: "head -c 40000000 /dev/zero | tr '\\0' x; echo the end" });
        await turnEnd();
        const output = events.findLast((event) => event.type === 'command_execution')?.payload.output;
        expect(output).toMatch(/^x+the end\n$/);
        expect(String(JSON.stringify(output)).length).toBeLessThan(70_000);
      });
    }

    test('a thread that nobody remembers does not stop the turn', async () => {
      const lost = kind === 'codex' ? '01a1fb4c-db3f-7bb0-8f00-000000000000' : 'command-lost';
      await driver.openThread({ threadId: lost, approvalPolicy: 'never', readHistory: false });
      await driver.prompt('cmd_one', { prompt: quick });
      await turnEnd();
      expect(ends[0]?.status).toBe('completed');
    });
  },
);
