import { afterAll, beforeAll, expect, it } from 'vitest';
import { killProcessGroup } from '../../infra/processes/process-group.js';
import { isSameProcessAlive } from '../../infra/processes/process-identity.js';
import { makeDataFolder } from '../support/data-folder.js';
import { eventually } from '../support/local-stack.js';
import { longSuite } from '../support/long-suite.js';
import { agentHostOf, agentOf, supervisorOf } from '../support/runner-processes.js';
import { inspect } from './aftermath.js';
import { allFaults, chooseFaults, type Fault, faultName, type Moment, type Target } from './fault-plan.js';
import { FaultyStack } from './faulty-stack.js';
import { faultPolicy, StagedTurn } from './staged-turn.js';

type Kill = Extract<Fault, { kind: 'kill' }>;

const faults = chooseFaults(longSuite());
const table: Record<string, unknown>[] = [];
const folder = makeDataFolder();
let stack: FaultyStack;
let turns = 0;

beforeAll(async () => {
  stack = await FaultyStack.start(folder.path);
  const [fsync] = await stack.rows<{ fsync: string }>('show fsync', []);
  expect(fsync).toEqual({ fsync: 'on' });
});
afterAll(async () => {
  await stack?.stop();
  folder.remove();
  console.table(table);
  const failed = table.filter((row) => row.verdict !== 'ok').length;
  console.log(`${table.length} of ${allFaults().length} faults, ${failed} not survived`);
});

it.each(faults.map((fault) => ({ fault, name: faultName(fault) })))('$name', async ({ fault, name }) => {
  const startedAt = Date.now();
  const row: Record<string, unknown> = { fault: name, attempts: null, ms: null, verdict: 'not inspected' };
  table.push(row);
  try {
    const { turn, allowedAttempts } = fault.kind === 'freeze' ? await frozenRunner() : await killed(fault);
    row.recoveryStartedMs = Date.now() - startedAt;
    const { attempts, problems } = await inspect(turn, allowedAttempts);
    row.attempts = attempts;
    row.verdict = problems.length === 0 ? 'ok' : problems.join('; ');
    expect(problems).toEqual([]);
  } catch (error) {
    if (row.verdict === 'not inspected') row.verdict = error instanceof Error ? error.message : String(error);
    throw error;
  } finally {
    row.ms = Date.now() - startedAt;
  }
});

const nextName = (moment: string) => {
  turns += 1;
  return `${moment}-${turns}`;
};

interface Survivor {
  readonly turn: StagedTurn;
  readonly allowedAttempts: readonly number[];
}

/** One turn, brought to the moment; the kill; nothing holds the turn any more. */
async function killed(fault: Kill): Promise<Survivor> {
  const { target, moment } = fault;
  if (target !== 'runner' && target !== 'agent') await stack.readyToKill(target);
  const turn = await StagedTurn.begin(stack.local, nextName(moment));
  await reach(turn, fault);
  const recovered = await strike(turn, target, moment);
  await turn.goOn();
  await recovered();
  return { turn, allowedAttempts: expectedAttempts(target, moment) };
}

/** A part of the stack may die without a runner noticing; a runner or agent that dies ends its attempt, unless the attempt has ended by then. */
function expectedAttempts(target: Target, moment: Moment): readonly number[] {
  if (target !== 'runner' && target !== 'agent') return [1];
  return moment === 'finish' ? [1, 2] : [2];
}

async function reach(turn: StagedTurn, { target, moment, round }: Kill): Promise<void> {
  switch (moment) {
    case 'before-claim':
      if (target === 'runner' || target === 'agent') await launched(turn);
      return;
    case 'first-request':
      return turn.atFirstRequest();
    case 'tool-call':
      return turn.atToolCall();
    case 'steer': {
      await turn.atMiddle();
      const steer = await turn.steer();
      if (round === 2) await turn.steerReached(steer, ['acknowledged', 'delivered']);
      return;
    }
    case 'finish':
      await turn.atLastAnswer();
      await turn.goOn();
      if (round === 2) await turn.lastAnswerIsLogged();
      return;
  }
}

/** The runner's processes exist and it has not claimed yet: it is stopped in its first milliseconds, before a claim can be on its way. */
async function launched(turn: StagedTurn): Promise<void> {
  const job = await jobOf(turn);
  const supervisor = await eventually('the supervisor runs', () => supervisorOf(folder.path, job), 30_000, 2);
  process.kill(supervisor.pid, 'SIGSTOP');
  const claimed = await stack.rows('select 1 from attempts where run_id = $1 and claimed_at is not null', [
    turn.runId,
  ]);
  if (claimed.length > 0) throw new Error('the moment was missed: the runner has claimed');
}

/** Answers a wait until what was killed is there again, if somebody starts it again. */
async function strike(turn: StagedTurn, target: Target, moment: Moment): Promise<() => Promise<void>> {
  if (target !== 'runner' && target !== 'agent') return stack.kill(target);
  const job = await jobOf(turn);
  const supervisor = supervisorOf(folder.path, job);
  if (target === 'runner') {
    if (supervisor === undefined) throw new Error('the moment was missed: the runner has ended');
    process.kill(supervisor.pid, 'SIGKILL');
    return async () => undefined;
  }
  const isThere = moment !== 'before-claim';
  const victim = await eventually('the agent runs', () =>
    isThere ? agentOf(folder.path, job) : agentHostOf(folder.path, job),
  );
  if (isThere) killProcessGroup(victim, 'SIGKILL');
  else process.kill(victim.pid, 'SIGKILL');
  // It was stopped to keep it from claiming; now it finds its agent-host gone.
  if (!isThere && supervisor !== undefined) process.kill(supervisor.pid, 'SIGCONT');
  return async () => undefined;
}

/** A runner stands still for longer than lease and grace: another attempt takes over, and the old one changes nothing when it goes on. */
async function frozenRunner(): Promise<Survivor> {
  const turn = await StagedTurn.begin(stack.local, nextName('frozen'), {
    ...faultPolicy,
    partitionGraceMs: 1_000,
  });
  await turn.atFirstRequest();
  const former = supervisorOf(folder.path, await jobOf(turn));
  if (former === undefined) throw new Error('the runner has ended');
  process.kill(former.pid, 'SIGSTOP');
  await eventually('another attempt has claimed', async () => {
    const rows = await stack.rows(
      'select 1 from attempts where run_id = $1 and epoch = 2 and claimed_at is not null',
      [turn.runId],
    );
    return rows.length === 1 ? true : undefined;
  });
  if (isSameProcessAlive(former)) process.kill(former.pid, 'SIGCONT');
  await turn.goOn();
  await eventually('the old runner has ended', () => (isSameProcessAlive(former) ? undefined : true));
  return { turn, allowedAttempts: [2] };
}

async function jobOf(turn: StagedTurn): Promise<string> {
  const [attempt] = await stack.rows<{ job_name: string }>(
    'select job_name from attempts where run_id = $1 order by epoch desc limit 1',
    [turn.runId],
  );
  if (attempt === undefined) throw new Error('the run has no attempt');
  return attempt.job_name;
}
