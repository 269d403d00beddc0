import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';
import type { RunFailureKind } from '../contract/failure-kinds.js';

/** One line on why a step gave up, for the run's `failureMessage`: what the step says itself, or the step and the root of the cause chain. */
export function describeFailure(error: unknown): string {
  const isNamed = failureKindOf(error) !== 'infra-failed';
  if (error instanceof ActivityFailure && !isNamed) return `${error.activityType}: ${rootMessage(error)}`;
  return rootMessage(error);
}

function rootMessage(error: unknown): string {
  let current = error;
  for (let depth = 0; depth < 10; depth += 1) {
    // What an activity says for callers is its ApplicationFailure; a cause below it is for the log.
    if (current instanceof ApplicationFailure) break;
    if (!(current instanceof Error) || !(current.cause instanceof Error)) break;
    current = current.cause;
  }
  if (current instanceof TimeoutFailure) return `timed out (${current.timeoutType})`;
  if (current instanceof ApplicationFailure) return current.message;
  return current instanceof Error ? current.message : String(current);
}

/** Failure kinds that a step names as the type of its ApplicationFailure. */
const namedKinds: readonly RunFailureKind[] = [
  'prerequisite-failed',
  'storage-unavailable',
  'unschedulable',
  'invalid-pod',
  'image-pull-failed',
  'session-store-evicted',
];

/** The failure kind of a run whose step gave up: the one it named, else `infra-failed`. */
export function failureKindOf(error: unknown): RunFailureKind {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const type = cause instanceof ApplicationFailure ? cause.type : undefined;
  return namedKinds.find((kind) => kind === type) ?? 'infra-failed';
}
