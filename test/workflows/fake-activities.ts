import { randomUUID } from 'node:crypto';
import type {
  RecordActivities,
  RetentionActivities,
  RunnerActivities,
  RunnerRetentionActivities,
  StorageActivities,
  SuperviseActivities,
  SupervisedAttempt,
  WebhookActivities,
} from '../../activities/index.js';
import type { RetryFacts } from '../../domain/retry-decision.js';
import type { SendDecision } from '../../domain/send-plan.js';
import type { SupervisionVerdict } from '../../domain/supervision.js';
import type { EndedAttempt, ParkLook } from '../../store/attempt-ends.js';
import type { ExpiredSessions } from '../../store/session-storage.js';
import type { WrittenAttempt } from '../../store/turn-steps.js';

export type AllActivities = RecordActivities &
  RunnerActivities &
  StorageActivities &
  RetentionActivities &
  RunnerRetentionActivities &
  SuperviseActivities &
  WebhookActivities;

const hourMs = 3_600_000;

/** A session's records in memory: at most one live run, and what was asked of it. Stands at the activity boundary only. */
export class FakeWorld {
  readonly calls: string[] = [];
  /** What supervising answers, attempt by attempt; when none is left it waits for `release`. */
  readonly verdicts: SupervisionVerdict[] = [];
  readonly ended = new Map<string, string>();
  readonly ends: EndedAttempt[] = [];
  active: string | null = null;
  queued: string[] = [];
  cancelRequested = false;
  /** Runners of the session that are not known to be gone. */
  sessionRunners: string[] = [];
  expired: ExpiredSessions = { toRemove: [], busy: [], hasMore: false };
  /** Months of the log that are over. */
  months: string[] = [];
  /** A launcher was given to the attempt that waits for one. */
  isGivenLauncher = false;
  currentEpoch = 1;
  /** Replaces single facts for the decision about another attempt. */
  facts: Partial<RetryFacts> = {};
  /** As a worker of 0.1.0: supervising answers without the facts for a retry. */
  answersAsBefore = false;
  /** What a look at the parked turn finds. */
  park: () => ParkLook = () => ({ state: 'over' });
  /** What comes before the next attempt is written. */
  first: Pick<WrittenAttempt, 'completed' | 'ended'> = {};
  /** Lets a supervising activity answer; tests call it. */
  release: () => void = () => undefined;
  /** The first run that a message begins; unique, since all tests share one server. */
  readonly firstRunId = `run_${randomUUID()}`;
  #turns = 0;

  retryFacts(): RetryFacts {
    return {
      nowMs: 0,
      maxAttempts: 3,
      retryBackoffMs: 1_000,
      providerParkMs: 1_000,
      cancelRequested: this.cancelRequested,
      canResume: true,
      hardLeftMs: hourMs,
      deadlineLeftMs: null,
      providerParkedMs: 0,
      providerParks: this.ends.filter((end) => end.park?.reason === 'provider-limit').length,
      former: this.ends.filter((end) => end.counted).map(({ failureKind }) => ({ failureKind, begun: true })),
      ...this.facts,
    };
  }

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
      adoptLauncher: async ({ runId }) => {
        note(`adoptLauncher ${runId}`);
        this.isGivenLauncher = true;
        this.release();
        return { kind: 'job', jobId: 'job_1' };
      },
      nextTurn: async () => {
        this.active ??= this.queued.shift() ?? null;
        return this.active === null ? null : { runId: this.active, launcher: 'process' };
      },
      openTurn: async ({ runId }) => {
        note(`openTurn ${runId}`);
        const last = this.ends.findLast((end) => end.epoch === this.currentEpoch);
        const between =
          last === undefined ? {} : ({ between: last.park === null ? 'retry' : 'parked' } as const);
        return { terminal: this.ended.has(runId), attempt: prepared(runId, this.currentEpoch), ...between };
      },
      writeAttempt: async ({ runId, epoch }) => {
        note(`writeAttempt ${epoch}`);
        const former = prepared(runId, epoch - 1);
        if (this.first.completed === true || this.first.ended === true) return { ...former, ...this.first };
        if (this.cancelRequested) return { ...former, cancelRequested: true };
        this.currentEpoch = epoch;
        return prepared(runId, epoch);
      },
      endAttempt: async (end) => {
        const how = end.park === null ? '' : ` park ${end.park.reason}`;
        note(`endAttempt ${end.epoch} ${end.failureKind}${how}`);
        if (this.cancelRequested) return 'cancelled';
        this.ends.push(end);
        return 'retry';
      },
      lookAtPark: async () => {
        note('lookAtPark');
        return this.cancelRequested ? { state: 'cancelled' } : this.park();
      },
      retryFacts: async ({ epoch }) => {
        note(`retryFacts ${epoch}`);
        return this.retryFacts();
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
      cancelTask: async ({ taskId }) => {
        note(`cancelTask ${taskId}`);
        const status = this.ended.get(taskId);
        if (status !== undefined)
          return { state: status, terminal: true, requested: false, runId: this.firstRunId };
        if (this.calls.includes(`dispatchTask ${taskId}`))
          return { state: 'running', terminal: false, requested: true, runId: this.firstRunId };
        this.ended.set(taskId, 'cancelled');
        return { state: 'cancelled', terminal: true, requested: true, runId: null };
      },
      beginEviction: async ({ onlyIfExpired }) => {
        note(`beginEviction${onlyIfExpired ? ' if expired' : ''}`);
        return { jobNames: this.sessionRunners, generation: '1' };
      },
      beginDeletion: async () => {
        note('beginDeletion');
        return { jobNames: this.sessionRunners, generation: '1' };
      },
      ensureStorage: async () => note('ensureStorage'),
      measureStorage: async () => note('measureStorage'),
      removeStorage: async () => note('removeStorage'),
      deleteSessionRows: async () => note('deleteSessionRows'),
      listExpiredSessions: async () => this.expired,
      collectSession: async ({ sessionId }) => {
        note(`collectSession ${sessionId}`);
        return { outcome: 'deleted', reason: '' };
      },
      makeEventPartitions: async () => {
        note('makeEventPartitions');
        return [];
      },
      lookAtRunners: async () => null,
      removeRunner: async () => ({ outcome: 'kept' }),
      listPastEventMonths: async () => ({ retentionDays: 30, months: this.months }),
      dropEventMonth: async ({ month }) => {
        note(`dropEventMonth ${month}`);
        return { outcome: 'dropped' };
      },
      trimDefaultEvents: async () => {
        note('trimDefaultEvents');
        return { deleted: 0, kept: 0 };
      },
      deliverWebhook: async ({ generation }) => {
        note(`deliverWebhook ${generation}`);
        return { state: 'delivered' };
      },
      buryWebhook: async ({ generation }) => note(`buryWebhook ${generation}`),
      launchRunner: async ({ epoch }) => note(`launchRunner ${epoch}`),
      stopRunner: async ({ jobName }) => note(`stopRunner ${jobName}`),
      announceTurnEnd: async ({ runId }) => note(`announceTurnEnd ${runId}`),
      sendToSession: async ({ commandId }) => note(`sendToSession ${commandId}`),
      cancelRun: async ({ runId }) => note(`cancelRun ${runId}`),
      superviseRunner: async ({ epoch, launcher }): Promise<SupervisedAttempt> => {
        note(`superviseRunner ${epoch}${launcher === 'external' ? ' external' : ''}`);
        const verdict = this.verdicts.shift();
        if (verdict === undefined) {
          await new Promise<void>((resolve) => {
            this.release = resolve;
          });
        }
        if (launcher === 'external' && this.isGivenLauncher)
          return { verdict: { kind: 'launcher-given', launcher: 'process' }, cancelRequested: false };
        return {
          verdict: verdict ?? { kind: 'outcome', outcome: { terminalStatus: 'completed' } },
          cancelRequested: this.cancelRequested,
          ...(this.answersAsBefore ? {} : { retry: this.retryFacts() }),
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
