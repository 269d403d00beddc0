import { z } from 'zod';
import { type Assignment, assignmentSchema, registerAnswerSchema } from '../../contract/runners.js';
import { type SendAnswer, sendAnswerSchema } from '../../contract/sessions.js';
import { jobNameOf } from '../../store/attempts.js';
import type { Pool } from '../../store/pool.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings, capabilities, type TestApi } from './api.js';

let sessions = 0;

/** A session id that no other test uses. */
export function newSessionId(): string {
  sessions += 1;
  return `session-${process.pid}-${sessions}`;
}

export const owner = { tenantId: 'acme', projectId: 'web' };

/** Sends a message; the session is made by the first. */
export function send(
  api: TestApi,
  sessionId: string,
  prompt: string,
  more: Record<string, unknown> = {},
): Promise<SendAnswer> {
  return api.data(sendAnswerSchema, 'POST', `/api/v1/sessions/${sessionId}/send`, {
    body: { prompt, run: { ...owner }, ...more },
  });
}

/** A runner that serves a run, as a supervisor would be. */
export interface ServingRunner {
  readonly sessionId: string;
  readonly runId: string;
  readonly promptId: string;
  readonly jobName: string;
  readonly jobId: string;
  readonly runnerId: string;
  readonly launchToken: string;
  readonly runnerToken: string;
  readonly runToken: string;
  readonly assignment: Assignment;
}

/** A launch token for the current attempt of a turn. */
export async function launchTokenOf(api: TestApi, sent: SendAnswer, epoch = 1): Promise<string> {
  const { token } = await api.deps.runnerTokens.mintLaunch(
    { run: sent.run.id, epoch, job: jobNameOf(sent.run.id, epoch), jobId: sent.runnerJob?.id ?? 'job_none' },
    60_000,
  );
  return token;
}

/** Sends a prompt to a new session, registers a runner and claims the turn. */
export async function startTurn(
  api: TestApi,
  prompt = 'do it',
  sessionId = newSessionId(),
): Promise<ServingRunner> {
  const sent = await send(api, sessionId, prompt);
  const launchToken = await launchTokenOf(api, sent);
  const jobId = sent.runnerJob?.id ?? '';
  const registered = await register(api, launchToken, jobId);
  const assignment = await claim(api, sent.run.id, launchToken, registered.runnerId);
  return {
    sessionId,
    runId: sent.run.id,
    promptId: sent.command.id,
    jobName: jobNameOf(sent.run.id, 1),
    jobId,
    runnerId: registered.runnerId,
    launchToken,
    runnerToken: registered.runnerToken,
    runToken: assignment.runToken,
    assignment,
  };
}

/** The next attempt of a run, claimed by a runner of its own. */
export async function nextAttempt(
  api: TestApi,
  pool: Pool,
  former: ServingRunner,
  epoch = 2,
): Promise<ServingRunner> {
  const { runId } = former;
  await writeAttempt(pool, attemptSettings, runId, epoch);
  const job = await pool.query<{ job_id: string }>(
    'select job_id from runner_jobs where run_id = $1 and epoch = $2',
    [runId, epoch],
  );
  const jobId = job.rows[0]?.job_id ?? '';
  const jobName = jobNameOf(runId, epoch);
  const { token: launchToken } = await api.deps.runnerTokens.mintLaunch(
    { run: runId, epoch, job: jobName, jobId },
    60_000,
  );
  const { runnerId, runnerToken } = await register(api, launchToken, jobId);
  const assignment = await claim(api, runId, launchToken, runnerId);
  const { runToken } = assignment;
  return { ...former, jobName, jobId, runnerId, launchToken, runnerToken, runToken, assignment };
}

export function register(api: TestApi, launchToken: string, jobId: string, runnerId?: string) {
  return api.data(
    registerAnswerSchema.extend({ runnerToken: z.string() }),
    'POST',
    '/api/v1/runners/register',
    {
      token: launchToken,
      body: {
        jobId,
        backend: 'codex',
        version: '1',
        capabilities,
        ...(runnerId === undefined ? {} : { runnerId }),
      },
    },
  );
}

export function claim(
  api: TestApi,
  runId: string,
  launchToken: string,
  runnerId: string,
): Promise<Assignment> {
  return api.data(assignmentSchema, 'POST', `/api/v1/runs/${runId}/claim`, {
    token: launchToken,
    body: { runnerId, leaseMs: 60_000 },
  });
}

/** Posts NDJSON lines to a run's ingest. */
export function postEvents(
  api: TestApi,
  runner: ServingRunner,
  lines: readonly unknown[],
  token = runner.runToken,
) {
  return api.call('POST', `/api/v1/runs/${runner.runId}/ingest`, {
    token,
    headers: { 'content-type': 'application/x-ndjson' },
    ...(lines.length === 0 ? {} : { body: `${lines.map((line) => JSON.stringify(line)).join('\n')}\n` }),
  });
}

/** Lines `from` to `to` of a producer, each an agent message that says its number. */
export function messageLines(from: number, to: number): { seq: number; event: unknown }[] {
  return Array.from({ length: to - from + 1 }, (_, index) => {
    const seq = from + index;
    return {
      seq,
      event: { type: 'agent_message', payload: { itemId: `item-${seq}`, text: `message ${seq}` } },
    };
  });
}
