import { pause } from '../../client/index.js';
import type { Assignment } from '../../contract/runners.js';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import { EventSpill } from './event-spill.js';
import { EventUploader } from './event-uploader.js';
import type { RunApi } from './manager-api.js';
import { RunFolder } from './run-folder.js';
import { uploadSpills } from './spill-upload.js';
import { TurnEvents } from './turn-events.js';
import type { TurnProgress } from './turn-progress.js';

/** How long the events of this attempt wait for those that a former one left. */
const leftoversFirstMs = 10_000;

export interface AttemptLogOptions {
  readonly assignment: Assignment;
  readonly api: RunApi;
  /** The supervisor's own part of the session's volume. */
  readonly supervisorDirectory: string;
  readonly redactor: Redactor;
  readonly progress: TurnProgress;
  /** Has the API give the run a fresh token. */
  readonly refreshToken: () => Promise<void>;
  readonly onFenced: (reason: string) => void;
  /** Fires when nothing more can be uploaded. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** The way of an attempt's events: redacted, kept on the volume while they wait, uploaded after what a former attempt left (architecture.md 5). */
export class AttemptLog {
  readonly folder: RunFolder;
  readonly uploader: EventUploader;
  readonly events: TurnEvents;
  readonly #options: AttemptLogOptions;
  readonly #spill: EventSpill;
  #leftovers: Promise<void>;

  constructor(options: AttemptLogOptions) {
    const { assignment, api, log } = options;
    this.#options = options;
    this.folder = new RunFolder(options.supervisorDirectory, assignment.run.id, log);
    this.#spill = new EventSpill(this.folder.path, assignment.epoch, log);
    this.#leftovers = this.#uploadLeftovers();
    this.uploader = new EventUploader({
      send: (lines, timeoutMs) => api.ingest(lines, timeoutMs),
      refreshToken: options.refreshToken,
      onFenced: options.onFenced,
      log,
      journal: this.#spill,
      after: Promise.race([this.#leftovers, pause(leftoversFirstMs, options.signal)]),
    });
    this.events = new TurnEvents({
      redactor: options.redactor,
      uploader: this.uploader,
      progress: options.progress,
    });
    // A flush that waits then ends with it.
    options.signal.addEventListener('abort', () => this.uploader.stop(), { once: true });
    void this.folder.removeOthers();
  }

  /** An answer that a former agent was told, or may have been, is not used twice, whatever the API heard of it. */
  async unusedGrants(): Promise<Assignment['grants']> {
    const { grants } = this.#options.assignment;
    if (grants.length === 0) return grants;
    const told = await this.folder.toldRequests();
    return grants.filter((grant) => !told.has(grant.requestId));
  }

  /** What former attempts left and the API would not take yet, once more. Bounded by its own few tries. */
  retryLeftovers(): Promise<void> {
    this.#leftovers = this.#leftovers.then(() => this.#uploadLeftovers());
    return this.#leftovers;
  }

  /** The outcome is in the API's record: what the next attempt would need of the folder is not needed. */
  async reported(): Promise<void> {
    this.close();
    await this.folder.close();
  }

  /** Nothing follows. What was not accepted stays on the volume. */
  close(): void {
    this.uploader.stop();
    const { size } = this.uploader;
    if (size > 0)
      this.#options.log.warn(
        { remaining: size },
        'events were not uploaded: they stay on the session storage',
      );
    this.#spill.close(size === 0);
  }

  async #uploadLeftovers(): Promise<void> {
    const { assignment, api, signal, log } = this.#options;
    if (assignment.epoch <= 1) return;
    await uploadSpills({
      folder: this.folder,
      epoch: assignment.epoch,
      send: (former, lines, timeoutMs) => api.ingest(lines, timeoutMs, former),
      signal,
      log,
    });
  }
}
