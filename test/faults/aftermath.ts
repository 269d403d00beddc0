import { eventually, getResult, type LocalStack } from '../support/local-stack.js';
import { sessionProcesses } from '../support/runner-processes.js';
import { timesInLastRequest } from '../support/scripted-control.js';
import { rowsOf } from './faulty-stack.js';
import type { StagedTurn } from './staged-turn.js';

/** How long a turn may take to end after its fault, and its session to be quiet. */
const endLimitMs = 60_000;
/** How long a runner that has nothing to do may live on. */
const leftoverLimitMs = 15_000;

/** How a turn ended that a fault has met. */
export interface Aftermath {
  readonly attempts: number;
  /** In words what is not as it must be; none when all is well. */
  readonly problems: readonly string[];
}

/**
 * Waits until the session is quiet and looks at everything that a fault may have broken: the log, what the model was told, the end, and what is left
 * behind.
 */
export async function inspect(turn: StagedTurn, allowedAttempts: readonly number[]): Promise<Aftermath> {
  const { local, runId } = turn;
  await sessionIsQuiet(turn);
  await turn.stopWatching();
  const [attempts, log, told, end, rows, processes] = await Promise.all([
    attemptsOf(local, runId),
    logProblems(turn),
    deliveryProblems(turn),
    endProblems(turn),
    rowProblems(turn),
    processProblems(turn),
  ]);
  const counted = allowedAttempts.includes(attempts)
    ? []
    : [`${attempts} attempts instead of ${allowedAttempts.join(' or ')}`];
  return { attempts, problems: [...counted, ...log, ...told, ...end, ...rows, ...processes] };
}

/** The run has ended, and so have the turns that its late steers became. */
async function sessionIsQuiet({ local, sessionId }: StagedTurn): Promise<void> {
  await eventually(
    'the session is quiet',
    async () => {
      const open = await rowsOf(
        local,
        `select 1 from runs where session_id = $1 and terminal_status is null
         union all select 1 from commands where session_id = $1 and steer_delivery = 'next-turn' and next_command_id is null`,
        [sessionId],
      );
      return open.length === 0 ? true : undefined;
    },
    endLimitMs,
  );
}

async function attemptsOf(local: LocalStack, runId: string): Promise<number> {
  const rows = await rowsOf<{ epoch: number }>(local, 'select epoch from attempts where run_id = $1', [
    runId,
  ]);
  return rows.length;
}

/** Every event that was served is stored once, under its seq; no seq and no event that a runner was told is stored is missing; the end is the last. */
async function logProblems({ local, runId, served }: StagedTurn): Promise<string[]> {
  const stored = await rowsOf<{
    seq: number;
    event_id: string;
    type: string;
    epoch: number;
    producer_seq: number | null;
  }>(
    local,
    'select seq::int as seq, event_id, type, epoch, producer_seq::int as producer_seq from events where run_id = $1 order by seq',
    [runId],
  );
  const problems: string[] = [];
  if (stored.some((event, at) => event.seq !== at + 1)) problems.push('the log has gaps');
  if (new Set(stored.map((event) => event.event_id)).size !== stored.length)
    problems.push('an event id stands in the log twice');
  const idBySeq = new Map(stored.map((event) => [event.seq, event.event_id]));
  const lost = served.filter((event) => idBySeq.get(event.seq) !== event.eventId);
  if (lost.length > 0)
    problems.push(`served, and not in the log: ${lost.map((event) => event.seq).join(', ')}`);
  if (served.some((event, at) => event.seq !== at + 1))
    problems.push('the watcher saw events out of order or twice');
  const ends = stored.filter((event) => event.type === 'terminal_status');
  if (ends.length !== 1) problems.push(`${ends.length} terminal events`);
  if (stored.at(-1)?.type !== 'terminal_status') problems.push('the terminal event is not the last');
  for (const epoch of new Set(stored.map((event) => event.epoch))) {
    const produced = stored.filter((event) => event.epoch === epoch && event.producer_seq !== null);
    if (produced.some((event, at) => event.producer_seq !== at + 1))
      problems.push(`events of attempt ${epoch} are missing, or stand there twice`);
  }
  return problems;
}

/** Each message has one end, and stands once in what the model was last told. */
async function deliveryProblems(turn: StagedTurn): Promise<string[]> {
  const { local, sessionId, prompt, steers, runId } = turn;
  const problems: string[] = [];
  const commands = await rowsOf<{ command_id: string; state: string; steer_delivery: string | null }>(
    local,
    `select command_id, state, steer_delivery from commands where session_id = $1`,
    [sessionId],
  );
  for (const { command_id: id, state, steer_delivery: delivery } of commands) {
    if (state === 'pending' || state === 'acknowledged') problems.push(`command ${id} is left ${state}`);
    if (delivery !== null && delivery !== 'delivered' && delivery !== 'next-turn')
      problems.push(`steer ${id} is left ${delivery}`);
  }
  const [run] = await rowsOf<{ thread_id: string | null }>(
    local,
    'select thread_id from runs where run_id = $1',
    [runId],
  );
  if (run?.thread_id === undefined || run.thread_id === null) return [...problems, 'the run names no thread'];
  const texts = [prompt, ...steers].map((message) => message.text);
  const times = await timesInLastRequest(local, run.thread_id, texts);
  for (const [text, count] of Object.entries(times))
    if (count !== 1) problems.push(`the model was told ${text} ${count} times`);
  return problems;
}

async function endProblems({ local, runId, sessionId }: StagedTurn): Promise<string[]> {
  const problems: string[] = [];
  const runs = await rowsOf<{
    run_id: string;
    status: string;
    failure_kind: string | null;
    failure_message: string | null;
  }>(local, 'select run_id, status, failure_kind, failure_message from runs where session_id = $1', [
    sessionId,
  ]);
  for (const run of runs)
    if (run.status !== 'completed')
      problems.push(`${run.run_id} ended ${run.status} (${run.failure_kind}): ${run.failure_message}`);
  const { terminalClassification } = await getResult(local, runId);
  if (terminalClassification.category !== 'completed' && problems.length === 0)
    problems.push(`category ${terminalClassification.category}`);
  return problems;
}

/** Rows that say that something still goes on. */
async function rowProblems({ local, sessionId }: StagedTurn): Promise<string[]> {
  const left = await rowsOf<{ what: string }>(
    local,
    `select 'the session is active' as what from sessions where session_id = $1 and active_run_id is not null
     union all select 'runner ' || job_name || ' is left ' || state from runners where session_id = $1 and state in ('launching', 'serving')
     union all select 'attempt ' || a.epoch || ' of ' || a.run_id || ' has no end' from attempts a join runs r using (run_id)
       where r.session_id = $1 and a.epoch < r.current_epoch and a.ended_at is null and a.outcome is null
     union all select 'request ' || request_id || ' is pending' from agent_requests where session_id = $1 and state = 'pending'
     union all select 'runner job ' || j.job_id || ' is left ' || j.phase from runner_jobs j join runs r using (run_id)
       where r.session_id = $1 and j.phase in ('creating', 'pending', 'starting') and j.epoch < r.current_epoch
     union all select 'a lease of ' || l.job_name || ' names a run that has ended' from leases l join runners n using (job_name)
       join runs r on r.run_id = l.run_id where n.session_id = $1 and n.state = 'serving' and r.terminal_status is not null`,
    [sessionId],
  );
  return left.map((row) => row.what);
}

/** Runners end when they have nothing to do; nothing of theirs may outlive them. */
async function processProblems({ local, sessionId }: StagedTurn): Promise<string[]> {
  const jobs = await rowsOf<{ job_name: string }>(
    local,
    'select job_name from runners where session_id = $1',
    [sessionId],
  );
  const names = jobs.map((job) => job.job_name);
  let left: string[] = [];
  await eventually(
    'no process is left',
    () => {
      left = sessionProcesses(local.dataDir, sessionId, names);
      return left.length === 0 ? true : undefined;
    },
    leftoverLimitMs,
  ).catch(() => undefined);
  return left.map((line) => `left running: ${line}`);
}
