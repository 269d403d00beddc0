import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { childPidFile, stackPaths } from '../../cli/stack/stack-paths.js';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { readPidFile } from '../../infra/processes/pid-file.js';
import { isSameProcessAlive } from '../../infra/processes/process-identity.js';
import { makeDataFolder } from '../support/data-folder.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';

const folder = makeDataFolder();
let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined, folder.path);
});
afterAll(async () => {
  await local?.stop();
  folder.remove();
});

const pidOf = (name: 'api' | 'worker' | 'temporal' | 'postgres'): number => {
  const identity = readPidFile(childPidFile(stackPaths(local.dataDir), name));
  if (identity === undefined || !isSameProcessAlive(identity)) throw new Error(`${name} does not run`);
  return identity.pid;
};
const release = (hold: string) =>
  fetch(`${local.scriptedUrl}/__scripted/holds/${hold}/release`, { method: 'POST' });

async function heldTurn(hold: string): Promise<{ sessionId: string; runId: string }> {
  const sessionId = await createSession(local);
  const { run } = await send(local, sessionId, `hold on [[scenario:hold name=${hold}]]`);
  await eventually(`${run.id} runs`, async () =>
    (await getRun(local, run.id)).status === 'running' ? true : undefined,
  );
  return { sessionId, runId: run.id };
}

/** Pids of the agents that live below this data folder. */
function agentPids(): number[] {
  const root = join(local.dataDir, 'runners');
  const file = z.object({ children: z.array(z.object({ pid: z.number(), startTime: z.number() })) });
  return readdirSync(root)
    .map((name) => join(root, name, 'agent-host.json'))
    .filter((path) => existsSync(path))
    .flatMap((path) => file.parse(JSON.parse(readFileSync(path, 'utf8'))).children)
    .filter(isSameProcessAlive)
    .map((child) => child.pid);
}

/** The run once it has ended; the API may be away in between. */
const endedRun = (runId: string) =>
  eventually(
    'the run has ended',
    async () => {
      const run = await getRun(local, runId).catch(() => undefined);
      return run === undefined || run.terminalStatus === null ? undefined : run;
    },
    60_000,
  );

const anotherPid = (name: 'api' | 'worker' | 'postgres', former: number) =>
  eventually(`${name} runs again`, () => {
    const identity = readPidFile(childPidFile(stackPaths(local.dataDir), name));
    return identity !== undefined && identity.pid !== former && isSameProcessAlive(identity)
      ? identity.pid
      : undefined;
  });

describe('a turn outlives', () => {
  it.each(['worker', 'api', 'postgres'] as const)(
    'kill -9 of the %s in its middle: it completes, the agent is started once',
    async (name) => {
      const { sessionId, runId } = await heldTurn(`killed-${name}`);
      const agents = agentPids();
      const former = pidOf(name);
      process.kill(former, 'SIGKILL');
      await anotherPid(name, former);
      await release(`killed-${name}`);
      const ended = await endedRun(runId);
      expect(ended).toMatchObject({ status: 'completed', attempt: 1 });
      expect(agentPids()).toEqual(expect.arrayContaining(agents));
      const { events } = await eventsToEnd(local, sessionId, runId);
      expect(events.filter((event) => event.type === 'attempt_started')).toHaveLength(1);
      expect(events.filter((event) => event.type === 'terminal_status')).toHaveLength(1);
      expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
    },
    120_000,
  );

  it('Temporal standing still: send answers 503 with Retry-After within 5 s, the agent goes on', async () => {
    const { sessionId, runId } = await heldTurn('frozen');
    const other = await createSession(local);
    const temporal = pidOf('temporal');
    process.kill(temporal, 'SIGSTOP');
    try {
      const startedAt = Date.now();
      const response = await fetch(`${local.stack.apiUrl}/api/v1/sessions/${other}/send`, {
        method: 'POST',
        headers: { authorization: `Bearer ${local.token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'hello [[scenario:echo]]', idempotencyKey: 'frozen-send' }),
      });
      expect(Date.now() - startedAt).toBeLessThan(5_000);
      expect(response.status).toBe(503);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await response.json()).toMatchObject({
        ok: false,
        failureKind: 'unavailable',
        error: { details: { outcome: 'unknown', idempotencyKey: 'frozen-send' } },
      });
      const seen = (await getRun(local, runId)).updatedAt;
      await release('frozen');
      await eventually('the agent ends its turn', async () => {
        const outcome = await local.db.query(
          'select outcome from attempts where run_id = $1 and outcome is not null',
          [runId],
        );
        return outcome.rowCount === 1 ? true : undefined;
      });
      expect(seen).toBeTruthy();
    } finally {
      process.kill(temporal, 'SIGCONT');
    }
    expect((await eventsToEnd(local, sessionId, runId)).status).toBe('completed');
    // The repeat with the key of the answer is the same message, not a second one.
    const repeated = await send(local, other, 'hello [[scenario:echo]]', { idempotencyKey: 'frozen-send' });
    expect((await eventsToEnd(local, other, repeated.run.id)).status).toBe('completed');
    const commands = await local.db.query(
      'select count(*)::int as commands from commands where session_id = $1',
      [other],
    );
    expect(commands.rows[0]).toEqual({ commands: 1 });
  }, 90_000);
});

describe('watch', () => {
  it('killed and started again goes on with nothing lost and nothing doubled', async () => {
    const sessionId = await createSession(local);
    const { run } = await send(local, sessionId, 'long [[scenario:demo]]');
    const seen: number[] = [];
    for (let watcher = 0; ; watcher += 1) {
      const child = startWatch(sessionId);
      const ended = await readSome(child, seen, watcher < 3 ? 4 : Number.POSITIVE_INFINITY);
      if (ended) break;
    }
    const stored = await local.db.query<{ seq: number }>(
      'select seq::int as seq from events where run_id = $1 order by seq',
      [run.id],
    );
    expect(seen).toEqual(stored.rows.map((row) => row.seq));
  }, 60_000);

  function startWatch(sessionId: string): ChildProcess {
    return spawn(process.execPath, ['dist/cli/main.js', 'watch', sessionId, '--json', '--resume'], {
      env: childEnvironment({ AGENTRUN_DATA_DIR: local.dataDir }),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  /** Reads events; kills the watcher after `limit` of them. True when it ended by itself. */
  function readSome(child: ChildProcess, seen: number[], limit: number): Promise<boolean> {
    return new Promise((resolve) => {
      let rest = '';
      let count = 0;
      child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
        const lines = (rest + piece).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const frame = z
            .looseObject({ frame: z.string(), data: z.looseObject({ seq: z.unknown().optional() }) })
            .parse(JSON.parse(line));
          if (frame.frame !== 'event') continue;
          seen.push(z.number().parse(frame.data.seq));
          count += 1;
        }
        if (count >= limit) child.kill('SIGKILL');
      });
      child.once('close', (code) => resolve(code === 0));
    });
  }
});

describe('stopping the stack in the middle of a turn', () => {
  it('the next start resumes that turn, and then runs the one behind it', async () => {
    const { sessionId, runId } = await heldTurn('stopped');
    const waiting = await send(local, sessionId, 'later [[scenario:echo]]', { whenBusy: 'queue' });
    await local.stop();
    local = await startLocalStack(() => undefined, folder.path);
    await release('stopped');
    const { status, events } = await eventsToEnd(local, sessionId, runId);
    expect(status).toBe('completed');
    expect(await getRun(local, runId)).toMatchObject({ failureKind: null, attempt: 2 });
    expect(events.find((event) => event.payload.phase === 'attempt-ended')?.payload).toMatchObject({
      failureKind: 'runner-evicted',
    });
    expect((await eventsToEnd(local, sessionId, waiting.run.id)).status).toBe('completed');
    expect(await getRun(local, waiting.run.id)).toMatchObject({ status: 'completed', attempt: 1 });
  }, 120_000);
});

describe('kill -9 of `agentrun up`', () => {
  it('leaves the runner alive, and the next start adopts it: the turn completes on the same agent', async () => {
    await local.stop();
    const up = spawn(process.execPath, ['dist/cli/main.js', 'up'], {
      env: childEnvironment({ AGENTRUN_DATA_DIR: folder.path }),
      stdio: 'ignore',
    });
    await eventually('the stack is up', async () => {
      const health = await fetch(`${local.stack.apiUrl}/health/readiness`).catch(() => undefined);
      return health?.status === 200 ? true : undefined;
    });
    local = { ...local, db: reconnect(folder.path) };
    const { runId } = await heldTurn('orphaned');
    const agents = agentPids();
    const killed = once(up, 'exit');
    up.kill('SIGKILL');
    await killed;
    await local.db.end();
    local = await startLocalStack(() => undefined, folder.path);
    expect(agentPids()).toEqual(agents);
    await release('orphaned');
    const ended = await endedRun(runId);
    expect(ended).toMatchObject({ status: 'completed', attempt: 1 });
    expect(agentPids()).toEqual(agents);
  }, 120_000);
});

function reconnect(dataDir: string): pg.Pool {
  const db = new pg.Pool({
    connectionString: readFileSync(stackPaths(dataDir).databaseUrlFile, 'utf8').trim(),
    max: 2,
  });
  db.on('error', () => undefined);
  return db;
}
