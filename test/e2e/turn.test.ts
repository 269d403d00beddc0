import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { routes } from '../../contract/routes/index.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

const requestsSchema = z.array(z.looseObject({ body: z.unknown() }));
async function modelRequestsWith(text: string): Promise<number> {
  const response = await fetch(`${local.scriptedUrl}/__scripted/requests`);
  const body: unknown = await response.json();
  const list = z.union([requestsSchema, z.looseObject({ requests: requestsSchema })]).parse(body);
  const requests = Array.isArray(list) ? list : list.requests;
  return requests.filter((request) => JSON.stringify(request.body).includes(text)).length;
}

const release = (hold: string) =>
  fetch(`${local.scriptedUrl}/__scripted/holds/${hold}/release`, { method: 'POST' });

/** A turn that runs until its hold is released. */
async function heldTurn(sessionId: string, hold: string): Promise<string> {
  const { run } = await send(local, sessionId, `hold on [[scenario:hold name=${hold}]]`);
  await eventually(`${run.id} runs`, async () => {
    const { status } = await getRun(local, run.id);
    return status === 'running' ? true : undefined;
  });
  return run.id;
}

describe('a turn on real parts', () => {
  it('runs to its end, is steered in the middle, and the steer reaches the model in the same turn', async () => {
    const sessionId = await createSession(local);
    const runId = await heldTurn(sessionId, 'steered');
    const steer = await send(local, sessionId, 'STEER-IN-THE-MIDDLE');
    expect(steer).toMatchObject({ decision: 'steer', queued: false, run: { id: runId }, runnerJob: null });
    await eventually('the steer is at the model', async () =>
      (await modelRequestsWith('STEER-IN-THE-MIDDLE')) > 0 ? true : undefined,
    );
    await release('steered');
    const { events, status } = await eventsToEnd(local, sessionId, runId);
    expect(status).toBe('completed');
    const messages = events
      .filter((event) => event.type === 'user_message')
      .map((event) => event.payload.commandId);
    expect(messages).toContain(steer.command.id);
    expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
    expect(events.at(-1)?.type).toBe('terminal_status');
    expect(await getRun(local, runId)).toMatchObject({ status: 'completed', attempt: 1, failureKind: null });
  });

  it('is done by the session’s warm runner the second time, on the same agent process', async () => {
    const sessionId = await createSession(local);
    const first = await send(local, sessionId, 'one [[scenario:echo]]');
    await eventsToEnd(local, sessionId, first.run.id);
    const second = await send(local, sessionId, 'two [[scenario:echo]]');
    expect(second.runnerJob).toMatchObject({ reused: true, jobName: first.runnerJob?.jobName });
    const { status } = await eventsToEnd(local, sessionId, second.run.id);
    expect(status).toBe('completed');
    expect((await getRun(local, second.run.id)).threadId).toBe((await getRun(local, first.run.id)).threadId);
  });

  it('is found by its search attributes while it runs', async () => {
    const sessionId = await createSession(local);
    const runId = await heldTurn(sessionId, 'searched');
    const binary = process.env.TEMPORAL_CLI_PATH ?? 'temporal';
    const query = `AgentRunRun = '${runId}' AND AgentRunSession = '${sessionId}' AND AgentRunState = 'running'`;
    const found = await eventually('the running turn is listed', async () => {
      const { stdout } = await promisify(execFile)(binary, [
        'workflow',
        'list',
        '--address',
        local.stack.temporalAddress,
        '--query',
        query,
        '-o',
        'json',
      ]);
      return stdout.includes(`turn/${runId}`) ? stdout : undefined;
    });
    expect(found).toContain('turnWorkflow');
    await release('searched');
    await eventsToEnd(local, sessionId, runId);
  });

  it('counts tokens by the proxy and shows a diff of the workspace', async () => {
    const sessionId = await createSession(local, {
      workspace: { path: join(process.cwd(), 'tools', 'scripted-model', 'sample-repository') },
    });
    const { run } = await send(local, sessionId, 'mend it [[scenario:demo]]');
    await eventsToEnd(local, sessionId, run.id);
    const result = await local.client.call(routes.getRunResult, { params: { runId: run.id } });
    expect(result.terminalStatus).toBe('completed');
    expect(result.diff).toContain("name || 'stranger'");
    expect(result.usage?.requests).toBe(6);
    expect(result.usage?.totalTokens).toBeGreaterThan(0);
  });

  it('is cancelled on request, and the session takes the next message', async () => {
    const sessionId = await createSession(local);
    const runId = await heldTurn(sessionId, 'cancelled');
    await local.client.call(routes.cancelRun, { params: { runId }, body: { reason: 'enough' } });
    const { status } = await eventsToEnd(local, sessionId, runId);
    expect(status).toBe('cancelled');
    const next = await send(local, sessionId, 'again [[scenario:echo]]');
    expect((await eventsToEnd(local, sessionId, next.run.id)).status).toBe('completed');
  });

  it('keeps a message that waits behind the turn, and runs it next', async () => {
    const sessionId = await createSession(local);
    const runId = await heldTurn(sessionId, 'queued');
    const queued = await send(local, sessionId, 'later [[scenario:echo]]', { whenBusy: 'queue' });
    expect(queued).toMatchObject({ decision: 'turn', queued: true, runnerJob: null });
    await expect(send(local, sessionId, 'no', { whenBusy: 'reject' })).rejects.toMatchObject({
      failureKind: 'session-busy',
    });
    await release('queued');
    await eventsToEnd(local, sessionId, runId);
    expect((await eventsToEnd(local, sessionId, queued.run.id)).status).toBe('completed');
  });

  it('cancels a turn that waits behind another one, which goes on', async () => {
    const sessionId = await createSession(local);
    const runId = await heldTurn(sessionId, 'goes-on');
    const waiting = await send(local, sessionId, 'never [[scenario:echo]]', { whenBusy: 'queue' });
    await local.client.call(routes.cancelRun, { params: { runId: waiting.run.id }, body: {} });
    expect(await getRun(local, waiting.run.id)).toMatchObject({ status: 'cancelled', attempt: 0 });
    expect(await getRun(local, runId)).toMatchObject({ status: 'running', cancelRequestedAt: null });
    await release('goes-on');
    expect((await eventsToEnd(local, sessionId, runId)).status).toBe('completed');
  });

  it('plans without doing anything in a dry run, with the decision of the real call', async () => {
    const sessionId = await createSession(local);
    const plan = () =>
      local.client.call(routes.send, {
        params: { sessionId },
        body: { prompt: 'hello', dryRun: true },
      });
    expect(await plan()).toMatchObject({ decision: 'turn', activeBefore: null });
    const runId = await heldTurn(sessionId, 'planned');
    expect(await plan()).toMatchObject({ decision: 'steer', activeBefore: { runId } });
    await release('planned');
    await eventsToEnd(local, sessionId, runId);
    const runs = await local.db.query('select count(*)::int as runs from runs where session_id = $1', [
      sessionId,
    ]);
    expect(runs.rows[0]).toEqual({ runs: 1 });
  });

  it('says why a provider refused, without the key', async () => {
    const sessionId = await createSession(local);
    const { run } = await send(local, sessionId, 'x [[scenario:fail kind=unauthorized]]');
    const { status, events } = await eventsToEnd(local, sessionId, run.id);
    expect(status).toBe('failed');
    expect(await getRun(local, run.id)).toMatchObject({ status: 'failed', failureKind: 'provider-auth' });
    expect(JSON.stringify(events)).not.toContain(providerKey());
  });

  it('runs a plain command with the same life cycle', async () => {
    const sessionId = await createSession(local, { backendProfile: 'command' });
    const good = await send(local, sessionId, 'echo from a command; pwd');
    const { status, events } = await eventsToEnd(local, sessionId, good.run.id);
    expect(status).toBe('completed');
    expect(JSON.stringify(events)).toContain('from a command');
    const bad = await send(local, sessionId, 'exit 7');
    await eventsToEnd(local, sessionId, bad.run.id);
    expect(await getRun(local, bad.run.id)).toMatchObject({ status: 'failed', failureKind: 'agent-error' });
  });

  it('ends with the cause when the workspace cannot be had', async () => {
    const sessionId = await createSession(local, { workspace: { path: '/nowhere/at/all' } });
    const { run } = await send(local, sessionId, 'x');
    expect((await eventsToEnd(local, sessionId, run.id)).status).toBe('failed');
    expect(await getRun(local, run.id)).toMatchObject({
      failureKind: 'prerequisite-failed',
      failureMessage: 'workspace.path: /nowhere/at/all is not a folder',
    });
  });
});

describe('a queue task', () => {
  it('is created, dispatched once, followed, and ends in one terminal state', async () => {
    const created = await local.client.call(routes.createQueueTask, {
      body: { tenantId: 'test', projectId: 'test', prompt: 'do it [[scenario:echo]]' },
    });
    expect(created.state).toBe('queued');
    const dispatch = () =>
      local.client.call(routes.dispatchQueueTask, { params: { taskId: created.id }, body: {} });
    const [first, second] = await Promise.all([dispatch(), dispatch()]);
    expect(first.latestAttempt?.runId).toBe(second.latestAttempt?.runId);
    const ended = await eventually('the task has ended', async () => {
      const task = await local.client.call(routes.getQueueTask, { params: { taskId: created.id } });
      return task.terminalStatus === null ? undefined : task;
    });
    expect(ended).toMatchObject({ state: 'completed', attempts: 1 });
  });
});

describe('secrets', () => {
  it('are in no process of the agent, no log, no event, no record and no workflow history', async () => {
    const sessionId = await createSession(local);
    const runId = await heldTurn(sessionId, 'secrets');
    const secrets = [providerKey(), local.token];
    const agent = agentProcesses(local.dataDir);
    expect(agent.length).toBeGreaterThan(0);
    for (const pid of agent) {
      const seen =
        readFileSync(`/proc/${pid}/environ`, 'utf8') + readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      for (const secret of secrets) expect(seen).not.toContain(secret);
    }
    await release('secrets');
    await eventsToEnd(local, sessionId, runId);
    const tables = [
      'sessions',
      'runs',
      'attempts',
      'commands',
      'events',
      'runners',
      'session_messages',
      'queue_tasks',
    ];
    for (const table of tables) {
      const rows = await local.db.query(`select jsonb_agg(to_jsonb(t))::text as all from ${table} t`);
      for (const secret of secrets) expect(String(rows.rows[0]?.all)).not.toContain(secret);
    }
    const folders = [join(local.dataDir, 'logs'), ...runnerFolders(local.dataDir)];
    for (const folder of folders) {
      for (const name of readdirSync(folder).filter((file) => file.endsWith('.log'))) {
        const text = readFileSync(join(folder, name), 'utf8');
        for (const secret of secrets) expect(text.includes(secret), `${name} holds a secret`).toBe(false);
      }
    }
    const history = await fetch(
      `${local.stack.temporalUiUrl}/api/v1/namespaces/default/workflows/${encodeURIComponent(`turn/${runId}`)}/history`,
    );
    const text = await history.text();
    expect(history.status).toBe(200);
    for (const secret of secrets)
      expect(text).not.toContain(Buffer.from(secret).toString('base64').slice(2, -4));
    expect(text).not.toContain(Buffer.from('hold on [[scenario').toString('base64').slice(2, -4));
  });
});

function providerKey(): string {
  return readFileSync(join(local.dataDir, 'secrets', 'provider-key'), 'utf8').trim();
}

function runnerFolders(dataDir: string): string[] {
  const root = join(dataDir, 'runners');
  return readdirSync(root).map((name) => join(root, name));
}

/** agent-host and everything below it, of all runners that live. */
function agentProcesses(dataDir: string): number[] {
  const hostFile = z.object({ pid: z.number(), children: z.array(z.object({ pid: z.number() })) });
  return runnerFolders(dataDir)
    .map((folder) => join(folder, 'agent-host.json'))
    .filter((file) => existsSync(file))
    .flatMap((file) => {
      const host = hostFile.parse(JSON.parse(readFileSync(file, 'utf8')));
      return [host.pid, ...host.children.map((child) => child.pid)];
    });
}
