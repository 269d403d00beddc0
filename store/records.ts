import { z } from 'zod';
import { type CommandRecord, commandRecordSchema } from '../contract/commands.js';
import { type RunEvent, runEventSchema } from '../contract/events.js';
import { type QueueTaskRecord, queueTaskRecordSchema } from '../contract/queue.js';
import { type RunRecord, runRecordSchema } from '../contract/runs.js';
import {
  type RunnerJobRecord,
  runnerJobRecordSchema,
  type SessionRecord,
  sessionRecordSchema,
} from '../contract/sessions.js';
import { sessionExpiry } from './session-expiry.js';

// Each `…Columns` is the select list whose row is the record of the contract: one place where a column gets its API name.
// Times leave Postgres as ISO 8601 text, so that no Date reaches a workflow.

/** ISO 8601 UTC with milliseconds of a timestamptz expression. */
export const isoTime = (expression: string) =>
  `to_char(${expression} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** Select list of a run; needs `from ${runFrom}` with the alias `r`. */
export const runColumns = `
  r.run_id as id, r.tenant_id as "tenantId", r.project_id as "projectId", r.session_id as "sessionId",
  r.session_turn as "sessionTurn",
  jsonb_build_object('sessionId', r.session_id, 'conversationId', r.conversation_id, 'threadId', r.thread_id,
    'metadata', r.session_metadata) as "sessionRef",
  r.backend_profile as "backendProfile", r.provider_id as "providerId", r.status, r.launcher,
  r.execution_policy as "executionPolicy", r.workspace, r.labels, r.metadata,
  r.current_epoch as attempt, r.current_epoch as epoch, a.claimed_by as "claimedBy",
  ${isoTime('l.expires_at')} as "leaseExpiresAt", ${isoTime('r.cancel_requested_at')} as "cancelRequestedAt",
  r.cancel_reason as "cancelReason", ${isoTime('r.deadline_at')} as "deadlineAt", r.terminal_status as "terminalStatus", r.failure_kind as "failureKind",
  r.failure_message as "failureMessage", r.thread_id as "threadId", r.turn_id as "turnId",
  ${isoTime('r.created_at')} as "createdAt", ${isoTime('r.started_at')} as "startedAt",
  ${isoTime('r.finished_at')} as "finishedAt", ${isoTime('r.updated_at')} as "updatedAt"`;
// A run of a session that is being deleted does not exist any more.
export const runFrom = `runs r
  join sessions owner on owner.session_id = r.session_id and owner.deleted_at is null
  left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
  left join leases l on l.run_id = r.run_id and l.epoch = r.current_epoch`;
export const parseRun = (row: unknown): RunRecord => runRecordSchema.parse(row);

const commandSelect = (payload: string) => `
  c.command_id as id, c.run_id as "runId", c.session_id as "sessionId", c.seq, c.type, c.state,
  c.steer_delivery as "steerDelivery", ${payload} as payload, c.idempotency_key as "idempotencyKey",
  c.next_command_id as "nextCommandId", ${isoTime('c.created_at')} as "createdAt",
  ${isoTime('c.acknowledged_at')} as "acknowledgedAt", ${isoTime('c.delivered_at')} as "deliveredAt",
  ${isoTime('c.finished_at')} as "finishedAt"`;
/** Select list of a command; alias `c`. Of an answer only which request it is for and how it decides: its words may be secret. */
export const commandColumns = commandSelect(`case when c.type = 'answer'
  then jsonb_build_object('requestId', c.payload -> 'requestId', 'decision', c.payload -> 'decision') else c.payload end`);
/** The same with the words of an answer: for the runner that holds the run, and nobody else. */
export const runnerCommandColumns = commandSelect('c.payload');
export const parseCommand = (row: unknown): CommandRecord => commandRecordSchema.parse(row);

/** Select list of a session; alias `s`. */
export const sessionColumns = `
  s.session_id as "sessionId", s.tenant_id as "tenantId", s.project_id as "projectId",
  s.backend_profile as "backendProfile", s.conversation_id as "conversationId", s.thread_id as "threadId",
  s.storage_kind as "storageKind", s.storage_backend as "storageBackend", s.storage_pvc_name as "storagePvcName",
  s.storage_pvc_phase as "storagePvcPhase", s.codex_rollout_subdir as "codexRolloutSubdir", s.workspace, s.labels,
  s.metadata, s.active_run_id as "activeRunId", s.active_command_id as "activeCommandId",
  s.last_run_id as "lastRunId", s.last_command_id as "lastCommandId", s.turns,
  ${isoTime(sessionExpiry('s'))} as "expiresAt", ${isoTime('s.archived_at')} as "archivedAt", ${isoTime('s.created_at')} as "createdAt",
  ${isoTime('s.updated_at')} as "updatedAt"`;
export const parseSession = (row: unknown): SessionRecord => sessionRecordSchema.parse(row);

/** Select list of a runner job; alias `j`. */
export const runnerJobColumns = `
  j.job_id as id, j.run_id as "runId", j.command_id as "commandId", j.epoch as attempt, j.epoch,
  j.job_name as "jobName", j.namespace, j.launcher, j.reused, j.phase,
  ${isoTime('j.created_at')} as "createdAt", ${isoTime('j.updated_at')} as "updatedAt"`;
export const parseRunnerJob = (row: unknown): RunnerJobRecord => runnerJobRecordSchema.parse(row);

/** Select list of an event; alias `e`. */
export const eventColumns = `
  e.seq, e.event_id as "eventId", e.run_id as "runId", e.epoch as attempt, e.epoch, e.type,
  ${isoTime('e.at')} as at, e.payload, e.raw`;
const storedEventSchema = runEventSchema.extend({ raw: z.json().nullable() });
export function parseEvent(row: unknown): RunEvent {
  const { raw, ...event } = storedEventSchema.parse(row);
  return raw === null ? event : { ...event, raw };
}

/** Select list of a queue task; alias `t`. */
export const queueTaskColumns = `
  t.task_id as id, t.tenant_id as "tenantId", t.project_id as "projectId", t.queue, t.title, t.state, t.priority,
  t.backend_profile as "backendProfile", jsonb_build_object('sessionId', t.session_id) as "sessionRef", t.payload,
  t.labels, t.metadata, t.attempts,
  case when t.attempts = 0 then null else jsonb_build_object('runId', t.latest_run_id, 'commandId',
    t.latest_command_id, 'sessionId', t.session_id) end as "latestAttempt",
  t.terminal_status as "terminalStatus", t.failure_kind as "failureKind", t.failure_message as "failureMessage",
  ${isoTime('t.created_at')} as "createdAt", ${isoTime('t.dispatched_at')} as "dispatchedAt",
  ${isoTime('t.finished_at')} as "finishedAt", ${isoTime('t.updated_at')} as "updatedAt", false as "valuesPrinted"`;
export const parseQueueTask = (row: unknown): QueueTaskRecord => queueTaskRecordSchema.parse(row);
