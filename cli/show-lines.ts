import type { QueueTaskRecord } from '../contract/queue.js';
import type { RunRecord, RunResult } from '../contract/runs.js';
import type { SessionView } from '../contract/sessions.js';
import type { Diagnosis, LivenessPhase, TerminalClassification } from '../contract/supervisor.js';
import { oneLine } from './terminal-text.js';

/** The whole of a message or a prompt is in `--json`. */
const longestText = 300;
const labelWidth = 15;

type Row = readonly [label: string, text: string | null | undefined];

/** A session for a person: where it stands, its storage, turns and how its active or last turn does. */
export function sessionLines(session: SessionView): string[] {
  const { supervisor } = session;
  return [
    `session ${session.sessionId} of ${session.tenantId}/${session.projectId}, ${session.backendProfile}`,
    ...rows([
      ['state', `${session.executionState}, attention ${session.attentionState}`],
      ['archived', session.archivedAt],
      ['storage', storageText(session)],
      ['turns', `${session.turns}${session.queuedTurns === 0 ? '' : `, ${session.queuedTurns} queued`}`],
      [session.activeRunId === null ? 'last run' : 'active run', runText(session)],
      ...(supervisor === undefined ? [] : diagnosisRows(supervisor.diagnosis)),
      ['thread', session.threadId],
      ['labels', labelsText(session.labels)],
      ['last activity', session.lastActivityAt],
      ['created', session.createdAt],
      ['expires', session.expiresAt],
    ]),
  ];
}

/** A run for a person: how it stands or ended and why, what it used, and what the agent said last. */
export function runLines(run: RunRecord, result: RunResult): string[] {
  const turn = run.sessionTurn === null ? '' : `, turn ${run.sessionTurn}`;
  return [
    `run ${run.id} of session ${run.sessionId}${turn}`,
    ...rows([
      ['status', statusText(run.status, result.liveness.phase)],
      ['classification', classificationText(result.terminalClassification)],
      ...diagnosisRows(result.diagnosis),
      ['failure', failureText(run)],
      ['waits for', result.liveness.pendingRequest?.summary],
      ['attempts', `${run.attempt} of ${run.executionPolicy.maxAttempts}, launcher ${run.launcher}`],
      ['usage', usageText(result.usage)],
      ['labels', labelsText(run.labels)],
      ['created', run.createdAt],
      ['started', run.startedAt],
      ['finished', run.finishedAt],
      ['last message', result.finalMessage],
    ]),
  ];
}

/** A queue task for a person. */
export function taskLines(task: QueueTaskRecord): string[] {
  const { prompt } = task.payload;
  return [
    `task ${task.id} of ${task.tenantId}/${task.projectId}, queue ${task.queue}`,
    ...rows([
      ['state', task.state],
      ['title', task.title],
      ['prompt', typeof prompt === 'string' ? prompt : null],
      ['failure', failureText(task)],
      ['session', task.sessionRef.sessionId],
      ['run', task.latestAttempt?.runId],
      ['attempts', String(task.attempts)],
      ['priority', task.priority === 0 ? null : String(task.priority)],
      ['labels', labelsText(task.labels)],
      ['created', task.createdAt],
      ['dispatched', task.dispatchedAt],
      ['finished', task.finishedAt],
    ]),
  ];
}

/** What is not there has no line. */
function rows(all: readonly Row[]): string[] {
  return all.flatMap(([label, text]) => {
    if (text == null || text === '') return [];
    const shown = text.length > longestText ? `${text.slice(0, longestText - 1)}…` : text;
    return [`  ${label.padEnd(labelWidth)} ${oneLine(shown)}`];
  });
}

function storageText({ storageKind, storageBackend, storagePvcPhase }: SessionView): string {
  const backend = storageBackend === null ? '' : ` (${storageBackend})`;
  return `${storageKind}${backend}${storagePvcPhase === null ? '' : ` ${storagePvcPhase}`}`;
}

function runText({ activeRunId, lastRunId, supervisor, terminalStatus }: SessionView): string | null {
  const runId = activeRunId ?? lastRunId;
  if (runId === null) return null;
  const status =
    supervisor?.runId === runId ? statusText(supervisor.status, supervisor.phase) : terminalStatus;
  return status === null ? runId : `${runId} ${status}`;
}

/** That a run has ended shows in its status. */
const statusText = (status: string, phase: LivenessPhase): string =>
  phase === 'terminal' || phase === status ? status : `${status}, ${phase}`;

const diagnosisRows = ({ summary, since, likelyCause }: Diagnosis): Row[] => [
  ['diagnosis', since === null ? summary : `${summary} (since ${since})`],
  ['likely cause', likelyCause],
];

function classificationText({ category, confidence, reason }: TerminalClassification): string | null {
  return category === 'not-terminal' ? null : `${category}, confidence ${confidence}: ${reason}`;
}

function failureText(of: { failureKind: string | null; failureMessage: string | null }): string | null {
  if (of.failureKind === null) return of.failureMessage;
  return of.failureMessage === null ? of.failureKind : `${of.failureKind}: ${of.failureMessage}`;
}

function usageText(usage: RunResult['usage']): string | null {
  if (usage === null) return null;
  const { requests, inputTokens, cachedInputTokens, outputTokens } = usage;
  return `${requests} model requests, ${inputTokens} tokens in (${cachedInputTokens} cached), ${outputTokens} out`;
}

const labelsText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
