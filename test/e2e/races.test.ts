import { afterAll, beforeAll, expect, it } from 'vitest';
import { createSession, eventually, type LocalStack, send, startLocalStack } from '../support/local-stack.js';

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

const rounds = 100;

it(`has one turn at a time and loses no message when two sends meet an idle session (${rounds} rounds)`, async () => {
  const sessionId = await createSession(local);
  const kinds = new Map<string, number>();
  for (let round = 0; round < rounds; round += 1) {
    const [left, right] = await Promise.all([
      send(local, sessionId, `left ${round} [[scenario:echo]]`),
      send(local, sessionId, `right ${round} [[scenario:echo]]`),
    ]);
    const decisions = [left, right]
      .map((answer) => `${answer.decision}${answer.queued ? ' queued' : ''}`)
      .sort();
    kinds.set(decisions.join(' + '), (kinds.get(decisions.join(' + ')) ?? 0) + 1);
    expect(decisions[1]).toMatch(/^turn/);
    await eventually(`the session is idle after round ${round}`, async () => {
      const open = await local.db.query(
        `select 1 from runs where session_id = $1 and terminal_status is null
         union all select 1 from commands where session_id = $1 and steer_delivery = 'next-turn' and next_command_id is null`,
        [sessionId],
      );
      return open.rowCount === 0 ? true : undefined;
    });
  }
  console.log('decisions', Object.fromEntries(kinds));

  const overlapping = await local.db.query(
    `select a.run_id, b.run_id from runs a join runs b on b.session_id = a.session_id and b.session_turn = a.session_turn + 1
       join attempts x on x.run_id = b.run_id where a.session_id = $1 and x.created_at < a.finished_at`,
    [sessionId],
  );
  expect(overlapping.rows).toEqual([]);
  const notCompleted = await local.db.query(
    `select run_id, status, failure_kind, failure_message from runs where session_id = $1 and status <> 'completed'`,
    [sessionId],
  );
  expect(notCompleted.rows).toEqual([]);

  // Each of the texts is in the agent's thread exactly once: as a turn, as a steer, or as the turn that a late steer became.
  const delivered = await local.db.query<{ text: string; times: number }>(
    `select c.payload ->> 'prompt' as text, count(*)::int as times from commands c
       where c.session_id = $1 and exists (select 1 from events e where e.run_id = c.run_id and e.type = 'user_message'
         and e.payload ->> 'commandId' = c.command_id) group by 1`,
    [sessionId],
  );
  expect(delivered.rows.filter((row) => row.times !== 1)).toEqual([]);
  expect(delivered.rows).toHaveLength(2 * rounds);
}, 240_000);
