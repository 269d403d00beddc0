import { z } from 'zod';
import type { SessionSummary } from '../contract/sessions.js';
import { attentionOf, executionStateOf } from '../domain/session-state.js';
import { isoTime, parseSession, sessionColumns } from './records.js';

const needsInput = `exists (select 1 from agent_requests q where q.run_id = a.run_id and q.state = 'pending')`;
const queuedTurns = `((select count(*)::int from runs q where q.session_id = s.session_id and q.terminal_status is null
    and q.session_turn is null and q.prompt_command_id is not null)
  + (select count(*)::int from commands c where c.session_id = s.session_id and c.steer_delivery = 'next-turn'
    and c.next_command_id is null))`;

/** Select list of a session's summary; needs {@link summaryFrom}. */
export const summaryColumns = `${sessionColumns},
  a.status as active_status, l.terminal_status as last_terminal, l.failure_kind as last_failure,
  l.finished_at is not null and (m.read_at is null or m.read_at < l.finished_at) as unread,
  ${needsInput} as needs_input, ${queuedTurns} as queued_turns,
  ${isoTime('greatest(s.last_activity_at, g.last_event_at)')} as last_activity_at`;

/** Sessions `s` with what a summary needs: `a` the active run, `l` the last, `g` its log, `m` the mark of the reader in parameter `reader`. */
export const summaryFrom = (reader: string) => `sessions s
  left join runs a on a.run_id = s.active_run_id and a.terminal_status is null
  left join runs l on l.run_id = s.last_run_id
  left join run_log g on g.run_id = s.last_run_id
  left join session_reads m on m.session_id = s.session_id and m.reader_id = ${reader}`;

/**
 * SQL: `executionStateOf` of domain/session-state.ts, for lists that choose by it. A test compares the two over all combinations. Needs
 * {@link summaryFrom}.
 */
export const executionStateSql = `case
  when a.run_id is not null and ${needsInput} then 'waiting'
  when a.status = 'running' then 'running'
  when a.run_id is not null then 'starting'
  when s.storage_kind = 'evicted' then 'evicted'
  when ${queuedTurns} > 0 then 'starting'
  else 'idle' end`;

const summaryRowSchema = z.looseObject({
  active_status: z.string().nullable(),
  last_terminal: z.string().nullable(),
  last_failure: z.string().nullable(),
  unread: z.boolean(),
  needs_input: z.boolean(),
  queued_turns: z.number(),
  last_activity_at: z.string().nullable(),
});

/** A row of {@link summaryColumns} as the API answers it. */
export function parseSummary(found: unknown): SessionSummary {
  const row = summaryRowSchema.parse(found);
  const session = parseSession(found);
  const executionState = executionStateOf({
    evicted: session.storageKind === 'evicted',
    activeRunStatus: row.active_status,
    needsInput: row.needs_input,
    queuedTurns: row.queued_turns,
  });
  return {
    ...session,
    executionState,
    attentionState: attentionOf({
      executionState,
      lastTerminalStatus: row.last_terminal,
      unread: row.unread,
    }),
    active: row.active_status !== null,
    sessionPath: `/api/v1/sessions/${encodeURIComponent(session.sessionId)}`,
    queuedTurns: row.queued_turns,
    terminalStatus: row.last_terminal,
    failureKind: row.last_failure,
    lastActivityAt: row.last_activity_at,
  };
}
