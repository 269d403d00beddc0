import type { RunEvent } from '../../../contract/events.js';
import { finishTurn } from '../../../store/turn-steps.js';
import type { TestApi } from '../../support/api.js';
import type { TestDatabase } from '../../support/postgres.js';
import type { ReceivedFrame } from '../../support/stream-reader.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../../support/turns.js';

/** Path of the stream of a run. */
export const runStream = ({ runId }: { readonly runId: string }, query = '') =>
  `/api/v1/runs/${runId}/stream${query}`;
/** Path of the stream of a session. */
export const sessionStream = ({ sessionId }: { readonly sessionId: string }, query = '') =>
  `/api/v1/sessions/${sessionId}/stream${query}`;

/** Ids `from` to `to` as they are on the wire. */
export const idsFrom = (from: number, to: number): string[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => String(from + index));

/** Names of frames in order, each run of the same name once. */
export const namesOf = (frames: readonly ReceivedFrame[]): string[] =>
  frames.map(({ frame }) => frame).filter((name, at, all) => name !== all[at - 1]);

/** The last seq of a run's log as it is stored. */
export async function lastSeqOf({ pool }: TestDatabase, runId: string): Promise<number> {
  const found = await pool.query<{ last_seq: number }>('select last_seq from run_log where run_id = $1', [
    runId,
  ]);
  return found.rows[0]?.last_seq ?? 0;
}

/** A turn whose log holds `count` messages of its agent, beside what AgentRun says itself. */
export async function turnWithEvents(
  api: TestApi,
  count: number,
  sessionId?: string,
): Promise<ServingRunner> {
  const runner = await startTurn(api, 'do it', sessionId);
  await post(api, runner, 1, count);
  return runner;
}

/** Posts the messages `from` to `to` of the runner. */
export async function post(api: TestApi, runner: ServingRunner, from: number, to: number): Promise<void> {
  const answer = await postEvents(api, runner, messageLines(from, to));
  if (answer.status !== 200) throw new Error(answer.text);
}

/** Ends the run, as its workflow does. */
export async function endRun({ pool }: TestDatabase, runId: string): Promise<void> {
  await finishTurn(pool, runId, { terminalStatus: 'completed', failureKind: null, failureMessage: null });
}

/** The events of a run as `GET events` answers them. */
export async function storedEvents(api: TestApi, runId: string): Promise<RunEvent[]> {
  const { data } = (await api.call('GET', `/api/v1/runs/${runId}/events?limit=500`)).body;
  const items: RunEvent[] = Object(data).items;
  return items;
}
