import { createHash } from 'node:crypto';
import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { executionPolicyInputSchema } from '../contract/execution-policy.js';
import { idPrefixes } from '../contract/ids.js';
import { jsonObjectSchema } from '../contract/json.js';
import { labelsSchema, workspaceSchema } from '../contract/runs.js';
import { isTerminalState, queueTaskStateSchema, runStatusSchema } from '../contract/states.js';
import type { SendDecision } from '../domain/send-plan.js';
import type { MessageBody } from './accept-message.js';
import { newId } from './new-id.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { holdAgainstDeletion } from './session-tasks.js';
import { tellWebhooks } from './webhook-outbox.js';

const taskRowSchema = z.object({
  task_id: z.string(),
  tenant_id: z.string(),
  project_id: z.string(),
  state: queueTaskStateSchema,
  backend_profile: z.enum(['codex', 'command']),
  session_id: z.string(),
  payload: z.looseObject({ prompt: z.string().optional() }),
  workspace: workspaceSchema.nullable(),
  execution_policy: executionPolicyInputSchema,
  labels: labelsSchema,
  metadata: jsonObjectSchema,
  attempts: z.number(),
  latest_command_id: z.string().nullable(),
});

/** The message by which a task is handed to its session. */
export interface TaskMessage {
  readonly commandId: string;
  readonly sessionId: string;
  readonly tenantId: string;
  readonly projectId: string;
}

/**
 * Marks a task dispatched and stores its message under the key "task and attempt", in one transaction. A repeat answers the same message. Locks session,
 * then task: a deletion of the session sees a task that is under way, or the dispatch sees the deletion.
 *
 * @throws AgentRunError `conflict` when the task has ended, or its session is being deleted.
 */
export async function dispatchTask(
  pool: Pool,
  taskId: string,
  notifyWorkflowId: string,
): Promise<TaskMessage> {
  return withTransaction(pool, async (tx) => {
    const owner = await tx.query<{ session_id: string; tenant_id: string }>(
      'select session_id, tenant_id from queue_tasks where task_id = $1 and latest_command_id is null',
      [taskId],
    );
    for (const { session_id, tenant_id } of owner.rows) await holdAgainstDeletion(tx, session_id, tenant_id);
    const found = await tx.query('select * from queue_tasks where task_id = $1 for update', [taskId]);
    if (found.rows.length === 0) throw new AgentRunError('not-found', `queue task ${taskId} does not exist`);
    const task = taskRowSchema.parse(found.rows[0]);
    const message = { sessionId: task.session_id, tenantId: task.tenant_id, projectId: task.project_id };
    if (task.latest_command_id !== null) return { commandId: task.latest_command_id, ...message };
    if (isTerminalState(task.state))
      throw new AgentRunError('conflict', `queue task ${taskId} is ${task.state}`);
    const commandId = newId(idPrefixes.command);
    const body: MessageBody = {
      payload: task.payload,
      whenBusy: 'queue',
      createRunnerJob: true,
      run: {
        tenantId: task.tenant_id,
        projectId: task.project_id,
        backendProfile: task.backend_profile,
        executionPolicy: task.execution_policy,
        labels: task.labels,
        metadata: task.metadata,
        ...(task.workspace === null ? {} : { workspace: task.workspace }),
      },
    };
    const text = JSON.stringify(body);
    await tx.query(
      `insert into session_messages (command_id, tenant_id, session_id, route, idempotency_key, body_hash, body, notify_workflow_id)
       values ($1, $2, $3, 'queue-task', $4, $5, $6, $7)`,
      [
        commandId,
        task.tenant_id,
        task.session_id,
        `${taskId}/${task.attempts + 1}`,
        createHash('sha256').update(text).digest('hex'),
        text,
        notifyWorkflowId,
      ],
    );
    await tx.query(
      `update queue_tasks set state = 'dispatched', dispatched_at = coalesce(dispatched_at, now()), attempts = attempts + 1,
         latest_command_id = $2, updated_at = now() where task_id = $1`,
      [taskId, commandId],
    );
    return { commandId, ...message };
  });
}

const followedSchema = z.object({
  state: queueTaskStateSchema,
  message_is_gone: z.boolean(),
  decision: z
    .object({ decision: z.string(), runId: z.string().optional(), message: z.string().optional() })
    .nullable(),
  run_status: runStatusSchema.nullable(),
  failure_kind: z.string().nullable(),
  failure_message: z.string().nullable(),
});

/** How a task stands after a look at its run. */
export interface FollowedTask {
  readonly state: string;
  readonly terminal: boolean;
  readonly runId: string | null;
}

/**
 * Copies what became of a task's run into the task: running, or its one terminal state. Reads everything anew each time. A task whose message is gone, with
 * its session, has failed.
 */
export async function followTask(pool: Pool, taskId: string): Promise<FollowedTask> {
  return withTransaction(pool, async (tx) => {
    await lockTask(tx, taskId);
    const found = await tx.query(
      `select t.state, ${messageIsGone} as message_is_gone, m.decision, r.status as run_status, r.failure_kind, r.failure_message
         from queue_tasks t
         left join session_messages m on m.command_id = t.latest_command_id
         left join runs r on r.run_id = m.decision ->> 'runId'
        where t.task_id = $1`,
      [taskId],
    );
    if (found.rows.length === 0) throw new AgentRunError('not-found', `queue task ${taskId} does not exist`);
    const task = followedSchema.parse(found.rows[0]);
    const runId = task.decision?.runId ?? null;
    if (isTerminalState(task.state)) return { state: task.state, terminal: true, runId };
    if (task.message_is_gone || task.decision?.decision === 'refused') {
      await endTask(tx, taskId, {
        state: 'failed',
        kind: 'infra-failed',
        message: task.decision?.message ?? 'the session was deleted',
        runId,
      });
      return { state: 'failed', terminal: true, runId };
    }
    if (runId === null || task.run_status === null) return { state: task.state, terminal: false, runId };
    if (isTerminalState(task.run_status)) {
      await endTask(tx, taskId, {
        state: task.run_status,
        kind: task.failure_kind,
        message: task.failure_message,
        runId,
      });
      return { state: task.run_status, terminal: true, runId };
    }
    await tx.query(
      `update queue_tasks set state = 'running', latest_run_id = $2, updated_at = now() where task_id = $1 and state <> 'running'`,
      [taskId, runId],
    );
    return { state: 'running', terminal: false, runId };
  });
}

/** The task `t` was handed to its session by a message `m` that is not there any more. */
const messageIsGone = '(t.latest_command_id is not null and m.command_id is null)';

/** In a statement of its own: the next one reads what was committed before the lock was given, also of other tables. */
async function lockTask(tx: Transaction, taskId: string): Promise<void> {
  await tx.query('select 1 from queue_tasks where task_id = $1 for update', [taskId]);
}

/** What a cancel of a task met. `runId`: the run that is to be cancelled for it. */
export interface CancelledTask {
  readonly state: string;
  readonly terminal: boolean;
  /** False: the task had ended already. */
  readonly requested: boolean;
  readonly runId: string | null;
}

/**
 * Cancels a task that was not dispatched yet, or whose message is gone with its session, at once. Any other is left to its run: the caller cancels that, and
 * the task ends with it.
 *
 * @throws AgentRunError `not-found`.
 */
export async function cancelTask(pool: Pool, taskId: string, reason: string | null): Promise<CancelledTask> {
  return withTransaction(pool, async (tx) => {
    await lockTask(tx, taskId);
    const found = await tx.query(
      `select t.state, t.latest_command_id is not null and not ${messageIsGone} as is_handed_over, m.decision ->> 'runId' as run_id
         from queue_tasks t left join session_messages m on m.command_id = t.latest_command_id where t.task_id = $1`,
      [taskId],
    );
    if (found.rows.length === 0) throw new AgentRunError('not-found', `queue task ${taskId} does not exist`);
    const task = cancelRowSchema.parse(found.rows[0]);
    const runId = task.run_id;
    if (isTerminalState(task.state)) return { state: task.state, terminal: true, requested: false, runId };
    if (task.is_handed_over) return { state: task.state, terminal: false, requested: true, runId };
    await endTask(tx, taskId, {
      state: 'cancelled',
      kind: 'cancelled',
      message: reason ?? 'cancelled before its run began',
      runId: null,
    });
    return { state: 'cancelled', terminal: true, requested: true, runId: null };
  });
}

const cancelRowSchema = z.object({
  state: queueTaskStateSchema,
  is_handed_over: z.boolean(),
  run_id: z.string().nullable(),
});

async function endTask(
  tx: Transaction,
  taskId: string,
  end: { state: string; kind: string | null; message: string | null; runId: string | null },
): Promise<void> {
  await tx.query(
    `update queue_tasks set state = $2, terminal_status = $2, failure_kind = $3, failure_message = $4, latest_run_id = coalesce($5, latest_run_id),
       finished_at = now(), updated_at = now() where task_id = $1`,
    [taskId, end.state, end.kind, end.message, end.runId],
  );
  await tellWebhooks(tx, 'taskEnd', [taskId]);
}

/** The workflow to tell when a run ends, if its prompt was handed in by one. */
export async function whomToNotify(
  pool: Pool,
  runId: string,
): Promise<{
  sessionId: string;
  tenantId: string;
  projectId: string;
  notifyWorkflowId: string | null;
} | null> {
  const found = await pool.query<{
    sessionId: string;
    tenantId: string;
    projectId: string;
    notifyWorkflowId: string | null;
  }>(
    `select r.session_id as "sessionId", r.tenant_id as "tenantId", r.project_id as "projectId",
       m.notify_workflow_id as "notifyWorkflowId"
     from runs r left join session_messages m on m.command_id = r.prompt_command_id where r.run_id = $1`,
    [runId],
  );
  return found.rows[0] ?? null;
}

/** A message that cannot be decided is refused, unless it was decided after all: who waits for its run then reads why there is none. */
export async function refuseMessage(
  pool: Pool,
  commandId: string,
  refusal: { failureKind: string; message: string },
): Promise<void> {
  await pool.query(
    'update session_messages set decision = $2, decided_at = now() where command_id = $1 and decision is null',
    [commandId, JSON.stringify({ decision: 'refused', ...refusal } satisfies SendDecision)],
  );
}
