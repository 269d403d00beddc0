/** What a look at a session's storage found. */
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

/** Where the files of sessions live: directories in local mode. Every method is idempotent. */
export interface SessionStorage {
  readonly backend: 'directory';
  /** Makes the session's storage, empty. What is there stays. */
  ensure(sessionId: string): Promise<void>;
  /** Size, number and hash of the session's regular files. Follows no link; bounded in files and time. */
  measure(sessionId: string): Promise<StorageFacts>;
  /** Deletes the session's storage for good. */
  remove(sessionId: string): Promise<void>;
}
