import { setTimeout as sleep } from 'node:timers/promises';
import { keepDiagnostics } from '../activities/runner-diagnostics.js';
import { stopGraceMs } from '../activities/runners.js';
import type { Launcher } from '../infra/launchers/launcher.js';
import type { Logger } from '../infra/telemetry/logger.js';
import { markRunnerGone } from '../store/attempts.js';
import { endingRunners } from '../store/ending-runners.js';
import type { Pool } from '../store/pool.js';
import { RepeatedLooks } from './repeated-looks.js';

const intervalMs = 15_000;
/** Runners of a round. */
const largestLook = 100;

interface SweepDependencies {
  readonly pool: Pool;
  readonly launcher: Launcher;
  readonly logger: Pick<Logger, 'debug' | 'info' | 'warn'>;
}

/**
 * Sees runners go that were told to close (decisions.md, Words: closing, gone). Turns prove the runners gone that stand in their way; this is for
 * those in nobody's way. Each round looks at up to a hundred, the next goes on after them. A runner whose fate this worker does not know, because
 * another machine started it, is left alone.
 */
export class RunnerSweep {
  readonly #dependencies: SweepDependencies;
  readonly #looks: RepeatedLooks;
  #after = '';

  constructor(dependencies: SweepDependencies) {
    this.#dependencies = dependencies;
    this.#looks = new RepeatedLooks({
      logger: dependencies.logger,
      words: { doing: 'looking for runners that are gone', notDo: 'look for runners that are gone' },
      run: (signal) => this.#run(signal),
    });
  }

  /** Begins to look in the background, every 15 s. Keeps no process alive. */
  start(): void {
    this.#looks.start();
  }

  /** Resolves when the look that is under way has ended. */
  async stop(): Promise<void> {
    await this.#looks.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(intervalMs * (0.75 + Math.random() / 2), undefined, { signal, ref: false }).catch(
        () => undefined,
      );
      if (!signal.aborted) await this.#looks.safely(() => this.look());
    }
  }

  /** One round; answers the runners that it found gone. */
  async look(): Promise<string[]> {
    const { pool, launcher, logger } = this.#dependencies;
    const runners = await endingRunners(pool, launcher.kind, this.#after, largestLook);
    this.#after = runners.length < largestLook ? '' : (runners.at(-1)?.jobName ?? '');
    const gone: string[] = [];
    for (const { jobName, isLeft } of runners) {
      if (this.#looks.signal.aborted) break;
      if (!isLeft && (await launcher.fate(jobName)).state !== 'gone') continue;
      await keepDiagnostics(pool, launcher, jobName);
      if (isLeft) await launcher.stop(jobName, stopGraceMs);
      else if (!(await launcher.retire(jobName))) continue;
      await markRunnerGone(pool, jobName);
      logger.debug({ jobName }, 'runner is gone');
      gone.push(jobName);
    }
    return gone;
  }
}
