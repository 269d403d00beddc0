import { expect, it } from 'vitest';
import { ApiError } from '../../client/index.js';
import { eventPageSchema, type ProducedEvent } from '../../contract/events.js';
import { ingestAnswerSchema } from '../../contract/ingest.js';
import { EventUploader } from '../../runner/supervisor/event-uploader.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api, database } = await useApi();
const loggedOf = async ({ runId }: ServingRunner) => {
  const { items } = await api.data(eventPageSchema, 'GET', `/api/v1/runs/${runId}/events`);
  return items.map(({ type, payload }) => ({ type, payload }));
};

/** Ids that an agent chooses, each of a type whose events change something beside the log. */
const unstorable: ProducedEvent[] = ['a\0b', 'a\ud83db'].flatMap((id): ProducedEvent[] => [
  { type: 'user_message', payload: { itemId: id, commandId: id, text: 'x' } },
  { type: 'backend_status', payload: { phase: 'thread-opened', threadId: id } },
  { type: 'steer_delivery', payload: { commandId: id, delivery: 'rejected' } },
  { type: 'approval_resolved', payload: { requestId: id, resolution: 'approved', reason: null } },
  { type: 'agent_message', payload: { itemId: id, text: id } },
]);
const stored = unstorable.map(({ type, payload }) => ({
  type,
  payload: JSON.parse(JSON.stringify(payload).replaceAll(/\\u0000|\\ud83d/g, '\u{fffd}')),
}));

it('an id that Postgres cannot hold is stored as texts are', async () => {
  const runner = await startTurn(api);
  const before = (await loggedOf(runner)).length;
  const lines = unstorable.map((event, index) => ({ seq: index + 1, event }));
  expect((await postEvents(api, runner, lines)).status).toBe(200);
  expect((await loggedOf(runner)).slice(before)).toEqual(stored);
  const { rows } = await database.pool.query('select thread_id from runs where run_id = $1', [runner.runId]);
  expect(rows).toEqual([{ thread_id: 'a\u{fffd}b' }]);
});

it('an uploader gets past such events, and those behind them are stored', async () => {
  const runner = await startTurn(api);
  const before = (await loggedOf(runner)).length;
  const fenced: string[] = [];
  const uploader = new EventUploader({
    send: async (body) => {
      const answer = await api.call('POST', `/api/v1/runs/${runner.runId}/ingest`, {
        token: runner.runToken,
        headers: { 'content-type': 'application/x-ndjson' },
        body,
      });
      const { status, body: said } = answer;
      if (status === 200) return ingestAnswerSchema.parse(said.data);
      throw new ApiError({ status, failureKind: String(said.failureKind), message: String(said.message) });
    },
    refreshToken: () => Promise.reject(new Error('no token is to be asked for')),
    onFenced: (reason) => fenced.push(reason),
    log: { warn: () => undefined },
  });
  const behind: ProducedEvent = { type: 'agent_message', payload: { itemId: 'i', text: 'behind' } };
  for (const event of [...unstorable, behind]) uploader.add(event);
  expect(await uploader.flush(5_000)).toBe(true);
  expect(fenced).toEqual([]);
  expect((await loggedOf(runner)).slice(before)).toEqual([...stored, behind]);
});

it('what Postgres refuses all the same is a refusal for good, not an error that a sender repeats', async () => {
  const runner = await startTurn(api);
  // As a value that no schema knows of would fare.
  await database.pool.query(
    `create function refuse() returns trigger language plpgsql as $$ begin raise sqlstate '22021'; end $$;
     create trigger refuse before insert on events for each row when (new.run_id = '${runner.runId}') execute function refuse()`,
  );
  const answer = await postEvents(api, runner, messageLines(1, 1));
  expect(answer).toMatchObject({ status: 400, body: { failureKind: 'schema-invalid' } });
});
