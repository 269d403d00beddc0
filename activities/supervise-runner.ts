import { Context } from '@temporalio/activity';
import { z } from 'zod';
import type { Outcome } from '../contract/commands.js';
import type { Launcher as RunLauncher } from '../contract/runs.js';
import { type FinalVerdict, judgeAttempt, type ProcessFate } from '../domain/supervision.js';
import type { Launcher } from '../infra/launchers/launcher.js';
import type { Listener } from '../store/listener.js';
import type { Pool } from '../store/pool.js';
import { loadRetryFacts } from '../store/retry-facts.js';
import type { AttemptKey, StoredSupervisionFacts } from '../store/supervision-facts.js';
import { AttemptLooks, Bell, SharedBeat } from './attempt-looks.js';
import type { SuperviseActivities, SupervisedAttempt } from './index.js';
import { PodNotes } from './pod-notes.js';

/** The longest time between two looks: a wake-up that was lost costs this. */
const safetyLookMs = 1_000;
/** The beat comes first; this only bounds the wait. */
const missedBeatMs = 2 * safetyLookMs;
/**
 * A longer time between two looks that succeeded (the machine slept, the process was frozen) counts as looks that failed: no runner could renew
 * its lease then either.
 */
const longestGapMs = 10_000;
/** The same between two watches of an attempt: heartbeats reach the server late, and it takes their timeout to begin another watch. */
const longestHandOverMs = 30_000;
/** A text of the agent in a history; the whole one is in Postgres. */
const longestText = 500;

export interface SuperviseDependencies {
  readonly pool: Pool;
  readonly listener: Pick<Listener, 'subscribe'>;
  readonly launcher: Pick<Launcher, 'fate' | 'watch'>;
}

/**
 * Watches one attempt and only reads, but for the notes on how its pod stands (architecture.md 4.2): woken by what the runner's writes notify, by the launcher and by a beat that all
 * watches of the process share; answers with the first verdict that is final, and the facts for what to do about it. A look that fails
 * (Postgres away) is no verdict; the heartbeat goes on, so the turn does too. What the next watch needs to know of this one is in its heartbeats.
 */
export function createSuperviseActivities(dependencies: SuperviseDependencies): SuperviseActivities {
  const { pool, listener, launcher } = dependencies;
  const looks = new AttemptLooks(pool);
  const beat = new SharedBeat(safetyLookMs);
  return {
    async superviseRunner({ runId, epoch, launcher: known }) {
      const context = Context.current();
      const bell = new Bell();
      const stops = [listener.subscribe('agentrun_attempt', runId, bell.ring), beat.subscribe(bell.ring)];
      const former = formerWatchSchema.safeParse(context.info.heartbeatDetails).data;
      const watch = new AttemptWatch(
        { runId, epoch, launcher: known },
        former,
        looks,
        launcher,
        new PodNotes(pool, { runId, epoch }),
        (jobName) => {
          stops.push(launcher.watch(jobName, bell.ring));
        },
      );
      try {
        for (;;) {
          context.cancellationSignal.throwIfAborted();
          const waitMs = await look(context, watch);
          if (typeof waitMs !== 'number') return waitMs;
          await bell.wait(waitMs, context.cancellationSignal);
        }
      } finally {
        for (const stop of stops) stop();
      }
    },
  };

  /** One look: what ends the activity, or the longest time until the next. */
  async function look(context: Context, watch: AttemptWatch): Promise<SupervisedAttempt | number> {
    try {
      const facts = await watch.facts();
      if (facts === undefined) return { verdict: { kind: 'superseded' }, cancelRequested: false };
      const verdict = judgeAttempt(facts, watch.attempt.epoch);
      const cancelRequested = facts.cancelRequestedAtMs !== null;
      if (verdict.kind === 'launcher-given') return { verdict, cancelRequested };
      if (verdict.kind !== 'wait') {
        const completed = verdict.kind === 'outcome' && verdict.outcome.terminalStatus === 'completed';
        const retry = completed ? undefined : await loadRetryFacts(pool, watch.attempt);
        return { verdict: bounded(verdict), cancelRequested, ...(retry === undefined ? {} : { retry }) };
      }
      context.heartbeat({
        phase: verdict.phase,
        leaseExpiresAtMs: facts.leaseExpiresAtMs,
        lastSeq: facts.lastSeq,
        lastEventType: facts.lastEventType,
        ...watch.forNextWatch,
      });
      const untilDeadlineMs = (verdict.nextDeadlineMs ?? Number.POSITIVE_INFINITY) - facts.nowMs;
      return Math.max(10, Math.min(missedBeatMs, untilDeadlineMs));
    } catch (error) {
      context.cancellationSignal.throwIfAborted();
      watch.failed();
      const { failedLooks } = watch;
      context.heartbeat({ phase: 'unavailable', failedLooks, ...watch.forNextWatch });
      if (failedLooks === 1 || failedLooks % 30 === 0)
        context.log.warn('cannot look at the attempt', { ...watch.attempt, failedLooks, cause: error });
      return safetyLookMs;
    }
  }
}

/** What a watch of an attempt tells the one after it, in its heartbeats; times of Postgres' clock. */
const formerWatchSchema = z.object({ lookedAtMs: z.number(), lookingSinceMs: z.number().nullable() });
type FormerWatch = z.infer<typeof formerWatchSchema>;

/** An attempt, with its launcher as the workflow knows it. */
interface WatchedAttempt extends AttemptKey {
  readonly launcher: RunLauncher | undefined;
}

/** The looks at one attempt: its process first, then the records (see {@link judgeAttempt}). */
class AttemptWatch {
  readonly attempt: WatchedAttempt;
  readonly #looks: AttemptLooks;
  readonly #launcher: Pick<Launcher, 'fate'>;
  readonly #podNotes: PodNotes;
  readonly #onJobName: (jobName: string) => void;
  #jobName: string | undefined;
  #lookedAtMs: number | undefined;
  #lookingSinceMs: number | null;
  #gapLimitMs: number;
  #failedLooks = 0;

  constructor(
    attempt: WatchedAttempt,
    former: FormerWatch | undefined,
    looks: AttemptLooks,
    launcher: Pick<Launcher, 'fate'>,
    podNotes: PodNotes,
    onJobName: (jobName: string) => void,
  ) {
    this.attempt = attempt;
    this.#lookedAtMs = former?.lookedAtMs;
    this.#lookingSinceMs = former?.lookingSinceMs ?? null;
    this.#gapLimitMs = longestHandOverMs;
    this.#looks = looks;
    this.#launcher = launcher;
    this.#podNotes = podNotes;
    this.#onJobName = onJobName;
  }

  /** Looks that failed one after another. */
  get failedLooks(): number {
    return this.#failedLooks;
  }

  /** Empty before the first look that succeeded. */
  get forNextWatch(): Partial<FormerWatch> {
    const lookedAtMs = this.#lookedAtMs;
    return lookedAtMs === undefined ? {} : { lookedAtMs, lookingSinceMs: this.#lookingSinceMs };
  }

  failed(): void {
    this.#failedLooks += 1;
  }

  async facts() {
    this.#jobName ??= await this.#learnJobName();
    if (this.#jobName === undefined) return undefined;
    const seen = await this.#launcher.fate(this.#jobName);
    const stored: StoredSupervisionFacts | undefined = await this.#looks.look(this.attempt);
    if (stored === undefined) return undefined;
    // What was not launched by us, or not yet, is not gone because our launcher sees nothing of it.
    const isUnlaunched = stored.isUnlaunched && stored.claimedAtMs === null;
    const isOurs = stored.launcher !== 'external' && !isUnlaunched;
    const process: ProcessFate = seen.state === 'gone' && !isOurs ? { state: 'unknown' } : seen;
    // Only what is watched still: the verdict says the rest.
    if (stored.outcome === null) await this.#podNotes.note(process, stored.policy.claimTimeoutMs);
    const gapMs = stored.nowMs - (this.#lookedAtMs ?? stored.nowMs);
    if (this.#failedLooks > 0 || gapMs > this.#gapLimitMs) this.#lookingSinceMs = stored.nowMs;
    this.#failedLooks = 0;
    this.#lookedAtMs = stored.nowMs;
    this.#gapLimitMs = longestGapMs;
    const { launcher, isUnlaunched: _unlaunched, ...facts } = stored;
    // A watch that 0.1.0 ordered was not told the launcher: ours are launched before they are watched.
    const waitsForOther =
      this.attempt.launcher === 'external' ||
      (this.attempt.launcher === undefined && isUnlaunched && process.state === 'unknown');
    const givenLauncher = waitsForOther && launcher !== 'external' ? launcher : null;
    return { ...facts, givenLauncher, process, lookingSinceMs: this.#lookingSinceMs };
  }

  async #learnJobName(): Promise<string | undefined> {
    const jobName = (await this.#looks.look(this.attempt))?.jobName;
    if (jobName !== undefined) this.#onJobName(jobName);
    return jobName;
  }
}

/** A verdict as it may stand in a history: without the agent's long texts and what only the records need. */
function bounded(verdict: FinalVerdict): FinalVerdict {
  if (verdict.kind === 'runner-gone' && verdict.message !== undefined)
    return { ...verdict, message: cutOff(verdict.message) };
  if (verdict.kind !== 'outcome') return verdict;
  const { terminalStatus, failureKind, failureMessage, provider } = verdict.outcome;
  const outcome: Outcome = {
    terminalStatus,
    failureKind: failureKind ?? null,
    failureMessage: failureMessage == null ? null : cutOff(failureMessage),
    ...(provider == null ? {} : { provider }),
  };
  return { kind: 'outcome', outcome };
}

const cutOff = (text: string): string =>
  text.length <= longestText ? text : `${text.slice(0, longestText)}…`;
