import { afterAll, beforeAll, expect, it } from 'vitest';
import { createSession, eventually, type LocalStack, send, startLocalStack } from '../support/local-stack.js';
import { longSuite } from '../support/long-suite.js';
import { atHold, release, timesInLastRequest } from '../support/scripted-control.js';
import { seededRandom } from '../support/seeded.js';

const suite = longSuite();
const allRaces = 500;
const wantedRaces = suite.all ? allRaces : suite.sample;
const lanes = 4;
/**
 * How long before the release of the last answer the steer is sent: it moves towards the end when the steer came in time and away from it when it came
 * too late, so the races stay at the edge on every machine. The jitter is on top.
 */
const firstLeadMs = 80;
const leadStepMs = 8;
const jitterMs = 60;

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

const quiet = (sessionId: string, what: string) =>
  eventually(
    `the session is quiet after ${what}`,
    async () => {
      const open = await local.db.query(
        `select 1 from runs where session_id = $1 and terminal_status is null
         union all select 1 from commands where session_id = $1 and steer_delivery = 'next-turn' and next_command_id is null`,
        [sessionId],
      );
      return open.rowCount === 0 ? true : undefined;
    },
    60_000,
  );

it(`${wantedRaces} steers meet the end of their turn: each has one end and reaches the model once`, async () => {
  const ends = new Map<string, number>();
  const perLane = Math.ceil(wantedRaces / lanes);
  await Promise.all(
    Array.from({ length: lanes }, (_, lane) =>
      raceLane(lane, Math.min(perLane, wantedRaces - lane * perLane), ends),
    ),
  );
  console.table(Object.fromEntries(ends));
  expect([...ends.values()].reduce((sum, count) => sum + count, 0)).toBe(wantedRaces);
  // A race that only one side ever wins has shown nothing.
  expect(ends.size).toBeGreaterThan(1);
});

it('two sends that meet an idle session: one turn at a time, and no message is lost', async () => {
  const rounds = Math.ceil(wantedRaces / 5);
  const sessionId = await createSession(local);
  const texts: string[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const pair = [`LEFT-${round}-END`, `RIGHT-${round}-END`];
    texts.push(...pair);
    const answers = await Promise.all(
      pair.map((text) => send(local, sessionId, `${text} [[scenario:echo]]`)),
    );
    expect(answers.some(({ decision }) => decision === 'turn')).toBe(true);
    await quiet(sessionId, `round ${round}`);
  }
  await expectOneTurnAtATime(sessionId);
  await expectToldOnce(sessionId, texts);
});

/** One session, race after race on its warm runner. */
async function raceLane(lane: number, races: number, ends: Map<string, number>): Promise<void> {
  const random = seededRandom(suite.seed + lane);
  const sessionId = await createSession(local);
  const texts: string[] = [];
  let edgeMs = firstLeadMs;
  for (let race = 0; race < races; race += 1) {
    const id = `${lane}-${race}`;
    const text = `STEER-${id}-END`;
    texts.push(`PROMPT-${id}-END`, text);
    await send(local, sessionId, `PROMPT-${id}-END [[scenario:gate name=gate-${id}]]`);
    await atHold(local, `gate-${id}`);
    // The one that waits is the later one.
    const lead = edgeMs + (random() - 0.5) * jitterMs;
    const [steer] = await Promise.all([
      after(-lead, () => send(local, sessionId, `${text} [[scenario:echo]]`)),
      after(lead, () => release(local, `gate-${id}`)),
    ]);
    await quiet(sessionId, `race ${id}`);
    const end = await endOf(steer.command.id);
    edgeMs += end === 'delivered' ? -leadStepMs : leadStepMs;
    ends.set(end, (ends.get(end) ?? 0) + 1);
  }
  const failed = await local.db.query(
    "select run_id, failure_kind, failure_message from runs where session_id = $1 and status <> 'completed'",
    [sessionId],
  );
  expect(failed.rows).toEqual([]);
  await expectOneTurnAtATime(sessionId);
  await expectToldOnce(sessionId, texts);
}

/** How the message ended, in exactly one way. @throws when it is left in between. */
async function endOf(commandId: string): Promise<string> {
  const { rows } = await local.db.query<{
    type: string;
    state: string;
    delivery: string | null;
    next_type: string | null;
    next_state: string | null;
  }>(
    `select c.type, c.state, c.steer_delivery as delivery, n.type as next_type, n.state as next_state
       from commands c left join commands n on n.command_id = c.next_command_id where c.command_id = $1`,
    [commandId],
  );
  const [command] = rows;
  if (command === undefined) throw new Error(`${commandId} is not stored`);
  if (command.type === 'turn' && command.state === 'completed') return 'turn of its own';
  if (command.delivery === 'delivered' && command.next_type === null) return 'delivered';
  if (command.delivery === 'next-turn' && command.next_type === 'turn' && command.next_state === 'completed')
    return 'next-turn';
  throw new Error(`${commandId} has no end: ${JSON.stringify(command)}`);
}

async function expectOneTurnAtATime(sessionId: string): Promise<void> {
  const overlapping = await local.db.query(
    `select a.run_id, b.run_id from runs a join runs b on b.session_id = a.session_id and b.session_turn = a.session_turn + 1
       join attempts x on x.run_id = b.run_id where a.session_id = $1 and x.created_at < a.finished_at`,
    [sessionId],
  );
  expect(overlapping.rows).toEqual([]);
}

/** All of a session's messages are in the input of its thread's last model request, each once. */
async function expectToldOnce(sessionId: string, texts: readonly string[]): Promise<void> {
  const { rows } = await local.db.query<{ thread_id: string }>(
    'select distinct thread_id from runs where session_id = $1',
    [sessionId],
  );
  expect(rows).toHaveLength(1);
  const times = await timesInLastRequest(local, rows[0]?.thread_id ?? '', texts);
  expect(Object.entries(times).filter(([, count]) => count !== 1)).toEqual([]);
}

async function after<T>(delayMs: number, act: () => Promise<T>): Promise<T> {
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
  return act();
}
