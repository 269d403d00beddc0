import type { IngestLine } from '../../contract/ingest.js';
import type { SpillReading } from '../spill/spill-files.js';

/** What a look at a session's files found. */
export interface StorageFacts {
  /** `Bound`: it is there; `Lost`: it is not. The words of Kubernetes for a volume claim. */
  readonly phase: 'Bound' | 'Lost';
  /** Sum over regular files. */
  readonly sizeBytes: number;
  readonly filesCount: number;
  /** See {@link contentHash}. Null when the look was cut off before every file was read, or when nothing is there. */
  readonly sha256: string | null;
  /** False: a limit was reached before every file was counted; size and count are lower bounds. */
  readonly isComplete: boolean;
}

/**
 * What a look at a session's volume from outside found: nobody but its runner sees the files. `Provisioning`: the claim is there and gets its disk with the
 * first runner; `Terminating`: somebody has deleted it.
 */
export interface VolumeLook {
  readonly phase: 'Provisioning' | 'Bound' | 'Lost' | 'Terminating';
}

/** How far storage is that is there. */
export type MadePhase = 'Provisioning' | 'Bound';

/** An attempt of a run of the session. */
export interface SpillingAttempt {
  readonly runId: string;
  readonly epoch: number;
}

/** Events that an attempt's runner left on the storage because the API did not take them. */
export interface SpilledEvents {
  /** In their order; each is one request's worth. @throws Error when they cannot be read. */
  batches(reading?: SpillReading): AsyncGenerator<IngestLine[]>;
  /** They are kept elsewhere. Idempotent. */
  remove(): Promise<void>;
}

/** The storage cannot be made, however often it is asked for: the message says why in the words of who refused it. */
export class StorageRefusedError extends Error {
  override readonly name = 'StorageRefusedError';
}

/**
 * Where the files of sessions live: directories in local mode, volumes in a cluster. Every method is idempotent. `generation` (letters and digits) says
 * which of the sessions that had the id is meant.
 */
export interface SessionStorage {
  readonly backend: 'directory' | 'pvc';
  /** Makes the session's storage, empty. What is there stays. @throws StorageRefusedError. */
  ensure(sessionId: string, generation: string): Promise<MadePhase>;
  /** Size, number and hash of the session's regular files where they can be seen. Follows no link; bounded in files and time. */
  measure(sessionId: string): Promise<StorageFacts | VolumeLook>;
  /** Whether there is any. @throws Error when that cannot be told. */
  exists(sessionId: string): Promise<boolean>;
  /** Takes the session's storage aside, at once: what is made under the id afterwards is another. */
  discard(sessionId: string, generation: string): Promise<void>;
  /** Deletes for good what {@link discard} took aside under this generation; `signal` breaks it off. */
  removeDiscarded(sessionId: string, generation: string, signal?: AbortSignal): Promise<void>;
  /** Undoes {@link ensure} for a session that is deleted; false when something is left that may be another's. */
  removeEmpty(sessionId: string, generation: string): Promise<boolean>;
  /**
   * Gives `use` what the runner of an attempt could not send, if it left something that can be reached. Only of runners that are gone: nobody else of ours
   * writes there then.
   *
   * @throws Error when what is there is not to be read; what `use` throws.
   */
  withSpill(
    sessionId: string,
    attempt: SpillingAttempt,
    use: (spill: SpilledEvents) => Promise<void>,
  ): Promise<void>;
}
