/**
 * What the `launch` Update of a session answers. `job`: the runner job of the run's current attempt, made before or now; `refused`: why it gets none,
 * with a failure kind of requests.
 */
export type LaunchDecision =
  | { readonly kind: 'job'; readonly jobId: string }
  | { readonly kind: 'refused'; readonly failureKind: string; readonly message: string };
