import { Context } from '@temporalio/activity';
import { judgeAttempt, type ProcessFate } from '../domain/supervision.js';
import type { Launcher } from '../infra/launchers/launcher.js';
import type { Listener } from '../store/listener.js';
import type { Pool } from '../store/pool.js';
import { loadSupervisionFacts } from '../store/supervision-facts.js';
import type { SuperviseActivities } from './index.js';

/** The longest time between two looks: a wake-up that was lost costs this. */
const safetyLookMs = 1_000;

export interface SuperviseDependencies {
  readonly pool: Pool;
  readonly listener: Listener;
  readonly launcher: Launcher;
}

/**
 * Watches one attempt and only reads (architecture.md 4.2): woken by what the runner's writes notify, looks at the process itself, and answers
 * with the first verdict that is final. A look that fails (Postgres away) is no verdict; the heartbeat goes on, so the turn does too.
 */
export function createSuperviseActivities({
  pool,
  listener,
  launcher,
}: SuperviseDependencies): SuperviseActivities {
  return {
    async superviseRunner({ runId, epoch }) {
      const context = Context.current();
      let goneSinceMs: number | undefined;
      let failedLooks = 0;
      for (;;) {
        context.cancellationSignal.throwIfAborted();
        const wakeUp = listener.arm('agentrun_attempt', runId);
        try {
          const facts = await loadSupervisionFacts(pool, runId, epoch);
          failedLooks = 0;
          if (facts === undefined) return { verdict: { kind: 'superseded' }, cancelRequested: false };
          const process = fate(await launcher.isAlive(facts.jobName), facts.nowMs);
          const verdict = judgeAttempt({ ...facts, process }, epoch);
          if (verdict.kind !== 'wait')
            return { verdict, cancelRequested: facts.cancelRequestedAtMs !== null };
          context.heartbeat({
            phase: verdict.phase,
            leaseExpiresAtMs: facts.leaseExpiresAtMs,
            lastSeq: facts.lastSeq,
            lastEventType: facts.lastEventType,
          });
          const untilDeadlineMs = (verdict.nextDeadlineMs ?? Number.POSITIVE_INFINITY) - facts.nowMs;
          await wakeUp.wait(
            Math.max(10, Math.min(safetyLookMs, untilDeadlineMs)),
            context.cancellationSignal,
          );
        } catch (error) {
          context.cancellationSignal.throwIfAborted();
          failedLooks += 1;
          context.heartbeat({ phase: 'unavailable', failedLooks });
          if (failedLooks === 1 || failedLooks % 30 === 0) {
            context.log.warn('cannot look at the attempt', { runId, epoch, failedLooks, cause: error });
          }
          await wakeUp.wait(safetyLookMs, context.cancellationSignal);
        } finally {
          wakeUp.close();
        }
      }

      function fate(alive: boolean | undefined, nowMs: number): ProcessFate {
        if (alive === undefined) return { state: 'unknown' };
        if (alive) return { state: 'alive' };
        goneSinceMs ??= nowMs;
        return { state: 'gone', sinceMs: goneSinceMs };
      }
    },
  };
}
