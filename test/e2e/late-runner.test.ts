import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchSpecSchema } from '../../contract/runners.js';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { exitCodes } from '../../runner/supervisor/supervisor.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  getRun,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { launchFileText, supervisorOf } from '../support/runner-processes.js';
import { atHold, modelRequests, release } from '../support/scripted-control.js';

let local: LocalStack;
const folder = mkdtempSync(join(tmpdir(), 'agentrun-late-'));
const children: ChildProcess[] = [];
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await local?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Everything of a run that a runner could change. The live attempt's own progress is held still by the scripted server. */
async function stateOf(runId: string): Promise<unknown> {
  const { rows } = await local.db.query(
    `select r.status, r.current_epoch, r.thread_id, r.turn_id, l.last_seq::int as last_seq, l.epoch as log_epoch,
       (select jsonb_agg(jsonb_build_array(a.epoch, a.job_name, a.claimed_by, a.outcome, a.ended_at) order by a.epoch) from attempts a where a.run_id = r.run_id) as attempts,
       (select jsonb_agg(jsonb_build_array(c.seq, c.state, c.delivered_at) order by c.seq) from commands c where c.run_id = r.run_id) as commands,
       (select jsonb_agg(jsonb_build_array(n.job_name, n.state, n.runner_id) order by n.job_name) from runners n where n.session_id = r.session_id) as runners
     from runs r join run_log l using (run_id) where r.run_id = $1`,
    [runId],
  );
  return rows[0];
}

it('a late runner with the launch token of a former attempt is fenced, ends and changes nothing', async () => {
  const sessionId = await createSession(local, { executionPolicy: { leaseMs: 3_000, retryBackoffMs: 50 } });
  const { run } = await send(local, sessionId, 'PROMPT-late-END [[scenario:hold name=late]]');
  const job = await local.db.query<{ job_name: string }>('select job_name from attempts where run_id = $1', [
    run.id,
  ]);
  const jobName = job.rows[0]?.job_name ?? '';
  const text = await eventually('the launch file', () => launchFileText(local.dataDir, jobName), 10_000, 1);
  await atHold(local, 'late');
  const first = supervisorOf(local.dataDir, jobName);
  if (first === undefined) throw new Error('the runner does not run');
  process.kill(first.pid, 'SIGKILL');
  await eventually('attempt 2 serves', async () => {
    const { attempt, status } = await getRun(local, run.id);
    return attempt === 2 && status === 'running' ? true : undefined;
  });
  await atHold(local, 'late');
  const threadId = (await getRun(local, run.id)).threadId ?? '';
  await logIsStill(run.id);
  const before = await stateOf(run.id);
  const requests = (await modelRequests(local, { thread: threadId })).length;

  const late = startLate(text);
  const code = await new Promise<number | null>((resolve) => late.once('exit', resolve));
  expect(code).toBe(exitCodes.claimRefused);
  expect(await stateOf(run.id)).toEqual(before);
  expect(await modelRequests(local, { thread: threadId })).toHaveLength(requests);

  await release(local, 'late');
  const { events, status } = await eventsToEnd(local, sessionId, run.id);
  expect(status).toBe('completed');
  expect(await getRun(local, run.id)).toMatchObject({ attempt: 2 });
  expect(events.filter((event) => event.type === 'attempt_started')).toHaveLength(2);
}, 120_000);

/** The turn stands at its hold, so after its last batch nothing more is written. */
async function logIsStill(runId: string): Promise<void> {
  let last = '';
  let since = Date.now();
  await eventually('the log stands still', async () => {
    const now = JSON.stringify(await stateOf(runId));
    if (now !== last) since = Date.now();
    last = now;
    return Date.now() - since > 500 ? true : undefined;
  });
}

/** A second supervisor with an agent-host of its own, started as the launcher does it. */
function startLate(launchFile: string): ChildProcess {
  const socket = join(folder, 'host.sock');
  const spec = launchSpecSchema.parse(JSON.parse(launchFile));
  const file = join(folder, 'launch.json');
  writeFileSync(file, JSON.stringify({ ...spec, agentHostSocket: socket }), { mode: 0o600 });
  start('agent-host', { AGENTRUN_AGENT_HOST_SOCKET: socket, HOME: folder });
  return start('supervisor', { AGENTRUN_LAUNCH_FILE: file, AGENTRUN_LOG_LEVEL: 'info' });
}

function start(program: string, environment: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, [join('dist', 'runner', program, 'main.js')], {
    env: childEnvironment(environment),
    stdio: 'ignore',
  });
  children.push(child);
  return child;
}
