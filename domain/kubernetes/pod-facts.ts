// What the cluster knows about a runner's pod, cut down to what is judged (pod-fate.ts). Times are epoch milliseconds of the cluster's clock.

/** How a container ended. `message` is what it left in its termination message. */
export interface ContainerEnd {
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
}

export interface ContainerFacts {
  readonly name: string;
  /** It does not run because of this; null: it runs or has ended. */
  readonly waiting: { readonly reason: string; readonly message: string } | null;
  /** Since when it runs; null: it does not. */
  readonly runningSinceMs: number | null;
  readonly ended: ContainerEnd | null;
  /** How it ended before it was started again, which only a sidecar is. */
  readonly endedBefore: ContainerEnd | null;
}

export interface PodState {
  readonly name: string;
  readonly uid: string;
  readonly phase: string;
  /** Why the pod as a whole stands as it does: `Evicted`, `DeadlineExceeded`, `OutOfcpu`; empty mostly. */
  readonly reason: string;
  readonly message: string;
  readonly createdAtMs: number;
  /** Somebody has asked for its deletion. */
  readonly isDeleting: boolean;
  readonly nodeName: string | null;
  /** The scheduler's word. Null: it has not said any. */
  readonly scheduled: {
    readonly isDone: boolean;
    readonly sinceMs: number;
    readonly message: string;
  } | null;
  /** Its condition `DisruptionTarget`: the cluster itself ends it. */
  readonly disruption: { readonly reason: string; readonly message: string } | null;
  /** The init containers first, in their order. */
  readonly containers: readonly ContainerFacts[];
}

export interface JobState {
  readonly uid: string;
  readonly createdAtMs: number;
  readonly isDeleting: boolean;
  /** It is not to have a pod yet: a queue of the cluster has not admitted it. */
  readonly isSuspended: boolean;
  /** Its condition `Failed` or `FailureTarget`; null: neither. */
  readonly failed: { readonly reason: string; readonly message: string } | null;
}

/** An event about the Job or its pod. */
export interface ObjectEvent {
  readonly about: 'job' | 'pod';
  readonly reason: string;
  readonly message: string;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

/** All of one runner. */
export interface PodFacts {
  /** Null: it is not in the cluster. */
  readonly job: JobState | null;
  /** Null: there is none (yet). */
  readonly pod: PodState | null;
  /** The pod was there once and is not any more. */
  readonly podIsGone: boolean;
  /** The node of the pod; null: it has none, or nobody may look. One that was removed is not ready. */
  readonly node: { readonly name: string; readonly isReady: boolean } | null;
  readonly events: readonly ObjectEvent[];
}
