import { z } from 'zod';

/** How a run, an attempt or a command ended (contract.md 5.1). A terminal state never changes. */
export const terminalStatuses = ['completed', 'failed', 'blocked', 'cancelled'] as const;
export const terminalStatusSchema = z.enum(terminalStatuses).meta({ id: 'TerminalStatus' });
export type TerminalStatus = z.infer<typeof terminalStatusSchema>;

/** States of a run (decisions.md, States). `running` from the first acknowledged turn on. */
export const runStatusSchema = z
  .enum(['pending', 'claimed', 'running', ...terminalStatuses])
  .meta({ id: 'RunStatus' });
export type RunStatus = z.infer<typeof runStatusSchema>;

/** States of a command (decisions.md, States). */
export const commandStateSchema = z
  .enum(['pending', 'acknowledged', ...terminalStatuses])
  .meta({ id: 'CommandState' });
export type CommandState = z.infer<typeof commandStateSchema>;

/** `answer`: the answer to a request of the agent, on its way to the runner that waits for it. */
export const commandTypeSchema = z.enum(['turn', 'steer', 'answer']);
export type CommandType = z.infer<typeof commandTypeSchema>;

/** Where a steer is on its way to the agent (decisions.md, Liveness phase). */
export const steerDeliverySchema = z
  .enum(['pending', 'acknowledged', 'delivered', 'next-turn', 'rejected'])
  .meta({ id: 'SteerDeliveryState' });
export type SteerDelivery = z.infer<typeof steerDeliverySchema>;

/** States of a queue task (decisions.md, States). */
export const queueTaskStateSchema = z
  .enum(['queued', 'dispatched', 'running', ...terminalStatuses, 'expired'])
  .meta({ id: 'QueueTaskState' });
export type QueueTaskState = z.infer<typeof queueTaskStateSchema>;

/** What an agent asks a person for. */
export const agentRequestKindSchema = z.enum([
  'command',
  'file-change',
  'permissions',
  'question',
  'elicitation',
]);
export type AgentRequestKind = z.infer<typeof agentRequestKindSchema>;

/**
 * Where a request of the agent stands. All but `pending` are final: `approved`, `denied` and `answered` by a person; `timed-out` by the clock;
 * `no-channel` when nobody can be asked; `superseded` when its runner was lost (the next attempt asks anew); `withdrawn` when its turn ended first.
 */
export const agentRequestStateSchema = z
  .enum(['pending', 'approved', 'denied', 'answered', 'timed-out', 'no-channel', 'superseded', 'withdrawn'])
  .meta({ id: 'AgentRequestState' });
export type AgentRequestState = z.infer<typeof agentRequestStateSchema>;

export const sessionExecutionStateSchema = z.enum(['idle', 'starting', 'running', 'waiting', 'evicted']);
export type SessionExecutionState = z.infer<typeof sessionExecutionStateSchema>;

/** States of a runner: one Job or local process group (decisions.md, Words). */
export const runnerStateSchema = z
  .enum(['launching', 'serving', 'idle', 'closing', 'gone'])
  .meta({ id: 'RunnerState' });
export type RunnerState = z.infer<typeof runnerStateSchema>;

export const runnerJobPhaseSchema = z
  .enum(['creating', 'pending', 'starting', 'running', 'succeeded', 'failed', 'lost', 'deleted'])
  .meta({ id: 'RunnerJobPhase' });
export type RunnerJobPhase = z.infer<typeof runnerJobPhaseSchema>;

/** Backends with a driver in the runner. */
export const backendProfileSchema = z.enum(['codex', 'command']).meta({ id: 'BackendProfile' });
export type BackendProfile = z.infer<typeof backendProfileSchema>;

const terminal: ReadonlySet<string> = new Set(terminalStatuses);

/** One test for every record with terminal words: run, attempt, command, queue task (contract.md oddity 24). */
export function isTerminalState(state: string): state is TerminalStatus | 'expired' {
  return terminal.has(state) || state === 'expired';
}
