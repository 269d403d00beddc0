import { z } from 'zod';
import {
  type AgentRequestRecord,
  type AgentRequestResolution,
  type AnswerPayload,
  agentRequestRecordSchema,
  agentRequestResolutionSchema,
  agentRequestSchema,
} from '../contract/agent-requests.js';
import { AgentRunError } from '../contract/errors.js';
import type { AgentRequestState } from '../contract/states.js';
import { resolutionOf } from '../domain/request-resolution.js';
import { refreshPauseClock } from './pause-clock.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';
import { isoTime } from './records.js';
import { lockRunForRunner, type RunnerIdentity } from './runner-identity.js';
import { storableJson } from './storable-json.js';

const columns = `
  q.request, q.run_id as "runId", q.session_id as "sessionId", q.epoch, q.state, ${isoTime('q.asked_at')} as "askedAt",
  ${isoTime('q.expires_at')} as "expiresAt", ${isoTime('q.resolved_at')} as "resolvedAt",
  ${isoTime('q.delivered_at')} as "deliveredAt", q.answer_command_id as "answerCommandId", false as "valuesPrinted"`;
const rowSchema = z.looseObject({ request: agentRequestSchema });

function parseRequest(row: unknown): AgentRequestRecord {
  const { request, ...facts } = rowSchema.parse(row);
  return agentRequestRecordSchema.parse({ ...request, ...facts });
}

/** Whose requests: those of a run, or of all runs of a session. */
export type RequestOwner = { readonly runId: string } | { readonly sessionId: string };

/** Which of them, and how many: ids sort by time. */
interface RequestPage {
  readonly state: AgentRequestState | undefined;
  readonly afterId: string | undefined;
  readonly limit: number;
}

/** Requests of the agent in the order in which they were asked. */
export async function listAgentRequests(
  db: Queryable,
  owner: RequestOwner,
  page: RequestPage,
): Promise<AgentRequestRecord[]> {
  const [column, id] = 'runId' in owner ? ['run_id', owner.runId] : ['session_id', owner.sessionId];
  const found = await db.query(
    `select ${columns} from agent_requests q
      where q.${column} = $1 and ($2::text is null or q.state = $2) and q.request_id > coalesce($3, '')
      order by q.request_id limit $4`,
    [id, page.state ?? null, page.afterId ?? null, page.limit],
  );
  return found.rows.map(parseRequest);
}

/** A request of a session; undefined when it is none of its own, or the session not `tenantId`'s or being deleted. */
export async function findAgentRequest(
  db: Queryable,
  sessionId: string,
  requestId: string,
  tenantId?: string,
): Promise<AgentRequestRecord | undefined> {
  const found = await db.query(
    `select ${columns} from agent_requests q where q.request_id = $1 and q.session_id = $2
        and ($3::text is null or exists (select 1 from sessions s
              where s.session_id = q.session_id and s.tenant_id = $3 and s.deleted_at is null))`,
    [requestId, sessionId, tenantId ?? null],
  );
  return found.rows.length === 0 ? undefined : parseRequest(found.rows[0]);
}

/** SQL: an answer's payload (the expression) without its words. It stays an AnswerPayload, as every reader expects. */
export const wordlessAnswer = (payload: string) => `(${payload} || '{"text":null,"answers":null}')`;

/** SQL: a resolution (the expression) without the words of the person. */
export const wordlessResolution = (
  resolution: string,
) => `(${resolution} || case ${resolution} ->> 'resolution'
  when 'answered' then '{"text":null,"answers":null}'::jsonb when 'denied' then '{"text":null}' else '{}' end)`;

/**
 * Overwrites the words of all answers of a run: the run has ended, nobody is told them any more. Those that were delivered are overwritten at that
 * moment (store/request-events.ts), a message that was decided with its decision (store/accept-message.ts). The caller holds the locks of the session's
 * and the run's row.
 */
export async function forgetAnswers(tx: Transaction, runId: string): Promise<void> {
  // Most agents ask nothing.
  const asked = await tx.query('select 1 from agent_requests where run_id = $1 limit 1', [runId]);
  if (asked.rows.length === 0) return;
  await tx.query(
    `update agent_requests q set resolution = ${wordlessResolution('q.resolution')}
      where run_id = $1 and state in ('answered', 'denied')`,
    [runId],
  );
  await tx.query(
    `update commands c set payload = ${wordlessAnswer('c.payload')} where run_id = $1 and type = 'answer'`,
    [runId],
  );
  // A message that is being decided at this moment is locked before its session, so it is not waited for: it is refused, and overwritten then.
  await tx.query(
    `update session_messages set body = jsonb_build_object('answer', ${wordlessAnswer(`(body -> 'answer')`)})
      where command_id in (
        select m.command_id from session_messages m
         where m.decision is null and m.body ? 'answer' and m.session_id = (select session_id from runs where run_id = $1)
           and exists (select 1 from agent_requests q where q.request_id = m.body #>> '{answer,requestId}' and q.run_id = $1)
         for no key update skip locked)`,
    [runId],
  );
}

/**
 * Resolves a pending request by a person's answer. The caller holds the lock of the session's row; this takes the run's, then the request's, and
 * starts the run's clocks again when nothing else is waited for.
 *
 * @returns the run, or why the request cannot be answered: it is unknown, or in this state already.
 */
export async function resolveByAnswer(
  tx: Transaction,
  sessionId: string,
  answer: AnswerPayload,
  commandId: string,
): Promise<{ readonly runId: string } | { readonly refused: 'unknown' | AgentRequestState }> {
  const request = await findAgentRequest(tx, sessionId, answer.requestId);
  if (request === undefined) return { refused: 'unknown' };
  await tx.query('select 1 from runs where run_id = $1 for no key update', [request.runId]);
  const resolution = resolutionOf(answer);
  const resolved = await tx.query(
    `update agent_requests set state = $2, resolution = $3, resolved_at = now(), answer_command_id = $4
      where request_id = $1 and state = 'pending'`,
    [answer.requestId, resolution.resolution, storableJson(resolution), commandId],
  );
  if (resolved.rowCount !== 1) {
    return { refused: (await findAgentRequest(tx, sessionId, answer.requestId))?.state ?? 'unknown' };
  }
  await refreshPauseClock(tx, request.runId);
  return { runId: request.runId };
}

/** The runner's clock and ours differ by less; it asks when its own says that the time is over. */
const expiryToleranceMs = 1_000;

const expiryRowSchema = z.object({
  state: z.string(),
  resolution: agentRequestResolutionSchema.nullable(),
  expires_at: z.string().nullable(),
});

/**
 * Ends a request whose time is over, asked by the runner that holds it. One that was resolved meanwhile keeps its resolution: what counts is the
 * row, and the runner does what this answers.
 *
 * @throws AgentRunError `fenced`; `not-found`; `conflict` when the time is not over.
 */
export async function expireAgentRequest(
  pool: Pool,
  runner: RunnerIdentity,
  requestId: string,
): Promise<AgentRequestResolution> {
  return withTransaction(pool, async (tx) => {
    await lockRunForRunner(tx, runner);
    const expired = await tx.query(
      `update agent_requests set state = 'timed-out', resolution = '{"resolution":"timed-out"}', resolved_at = now()
        where request_id = $1 and run_id = $2 and state = 'pending' and expires_at <= now() + $3 * interval '1 millisecond'`,
      [requestId, runner.runId, expiryToleranceMs],
    );
    if (expired.rowCount === 1) await refreshPauseClock(tx, runner.runId);
    const found = await tx.query(
      `select state, resolution, ${isoTime('expires_at')} as expires_at from agent_requests where request_id = $1 and run_id = $2`,
      [requestId, runner.runId],
    );
    if (found.rows.length === 0) throw unknownRequest(requestId);
    const row = expiryRowSchema.parse(found.rows[0]);
    if (row.resolution !== null) return row.resolution;
    throw new AgentRunError('conflict', `request ${requestId} is ${row.state}: its time is not over`, {
      details: { expiresAt: row.expires_at },
    });
  });
}

/** The error for a request that is not there, or not the caller's. */
export const unknownRequest = (requestId: string) =>
  new AgentRunError('not-found', `request ${requestId} does not exist`);

/**
 * Ends the requests of a run whose time is over while no runner is there to say so: the turn is parked. The caller holds the lock of the run's row.
 * Answers the ids.
 */
export async function expireDueRequests(tx: Transaction, runId: string): Promise<string[]> {
  const expired = await tx.query<{ request_id: string }>(
    `update agent_requests set state = 'timed-out', resolution = '{"resolution":"timed-out"}', resolved_at = now()
      where run_id = $1 and state = 'pending' and expires_at <= now() returning request_id`,
    [runId],
  );
  if (expired.rows.length > 0) await refreshPauseClock(tx, runId);
  return expired.rows.map((row) => row.request_id);
}

/**
 * Ends requests that nobody waits for any more: `superseded` when their runner was lost (the next attempt asks anew), `withdrawn` when their turn
 * ended. The caller holds the lock of the run's row. Answers the ids that were pending.
 */
export async function closePendingRequests(
  tx: Transaction,
  runId: string,
  state: 'superseded' | 'withdrawn',
): Promise<string[]> {
  const closed = await tx.query<{ request_id: string }>(
    `update agent_requests set state = $2, resolution = jsonb_build_object('resolution', $2::text), resolved_at = now()
      where run_id = $1 and state = 'pending' returning request_id`,
    [runId, state],
  );
  if (closed.rows.length > 0) await refreshPauseClock(tx, runId);
  return closed.rows.map((row) => row.request_id);
}
