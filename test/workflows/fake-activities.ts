import { randomUUID } from 'node:crypto';
import type { RecordActivities, RunnerActivities, SuperviseActivities } from '../../activities/index.js';
import type { SendDecision } from '../../domain/send-plan.js';
import type { SupervisionVerdict } from '../../domain/supervision.js';

type AllActivities = RecordActivities & RunnerActivities & SuperviseActivities;

/** A session's records in memory: at most one live run, and what was asked of it. Stands at the activity boundary only. */
export class FakeWorld {
  readonly calls: string[] = [];
  readonly verdicts: SupervisionVerdict[] = [];
  readonly ended = new Map<string, string>();
  active: string | null = null;
  queued: string[] = [];
  cancelRequested = false;
  /** Lets a supervising activity answer; tests call it. */
  release: () => void = () => undefined;
  /** The first run that a message begins; unique, since all tests share one server. */
  readonly firstRunId = `run_${randomUUID()}`;
  #turns = 0;

  /** Activities for a worker. `overrides` replace single ones. */
  activities(overrides: Partial<AllActivities> = {}): AllActivities {
    const note = (name: string) => {
      this.calls.push(name);
    };
    return {
      acceptMessage: async ({ commandId }): Promise<SendDecision> => {
        note(`acceptMessage ${commandId}`);
        if (this.active !== null) return { decision: 'steer', runId: this.active, commandId };
        this.#turns += 1;
        this.active = this.#turns === 1 ? this.firstRunId : `${this.firstRunId}_${this.#turns}`;
        return {
          decision: 'turn',
          runId: this.active,
          commandId,
          queued: false,
          launcher: 'process',
          first: null,
        };
      },
      nextTurn: async () => {
        this.active ??= this.queued.shift() ?? null;
        return this.active === null ? null : { runId: this.active, launcher: 'process' };
      },
      openTurn: async ({ runId }) => {
        note(`openTurn ${runId}`);
        return { terminal: this.ended.has(runId), attempt: prepared(runId, 1) };
      },
      writeAttempt: async ({ runId, epoch }) => {
        note(`writeAttempt ${epoch}`);
        return prepared(runId, epoch);
      },
      finishTurn: async ({ runId, end }) => {
        note(`finishTurn ${end.terminalStatus} ${end.failureKind}`);
        this.ended.set(runId, end.terminalStatus);
        if (this.active === runId) this.active = null;
        return { status: end.terminalStatus, nextCommandIds: [] };
      },
      requestCancel: async () => {
        note('requestCancel');
        this.cancelRequested = true;
        return { status: 'running', requested: true };
      },
      dispatchTask: async ({ taskId }) => {
        note(`dispatchTask ${taskId}`);
        return { commandId: 'cmd_1', sessionId: 's', tenantId: 't', projectId: 'p' };
      },
      followTask: async ({ taskId }) => {
        const status = this.ended.get(taskId);
        return { state: status ?? 'running', terminal: status !== undefined, runId: this.firstRunId };
      },
      launchRunner: async ({ epoch }) => note(`launchRunner ${epoch}`),
      stopRunner: async ({ jobName }) => note(`stopRunner ${jobName}`),
      announceTurnEnd: async ({ runId }) => note(`announceTurnEnd ${runId}`),
      sendToSession: async ({ commandId }) => note(`sendToSession ${commandId}`),
      superviseRunner: async ({ epoch }) => {
        note(`superviseRunner ${epoch}`);
        const verdict = this.verdicts.shift();
        if (verdict === undefined) {
          await new Promise<void>((resolve) => {
            this.release = resolve;
          });
        }
        return {
          verdict: verdict ?? { kind: 'outcome', outcome: { terminalStatus: 'completed' } },
          cancelRequested: this.cancelRequested,
        };
      },
      ...overrides,
    };
  }
}

const prepared = (runId: string, epoch: number) => ({
  runId,
  epoch,
  jobName: `job-${epoch}`,
  reused: false,
  launcher: 'process' as const,
  maxAttempts: 3,
});
