import type { RunFailureKind } from './failure-kinds.js';

/** What the registry says of a failure kind of a run, one sentence each. How often it is tried again is the domain's (`retryRules`). */
interface RunFailure {
  readonly meaning: string;
  /** What whoever sent the turn does, once AgentRun has given up. */
  readonly cure: string;
}

/** Every failure kind of a run in words (decisions.md, "Failure kinds of a run" and "Provider errors"). `docs/errors.md` is made from this. */
export const runFailures: Readonly<Record<RunFailureKind, RunFailure>> = {
  'runner-never-claimed': {
    meaning: 'No runner claimed the attempt within the claim timeout.',
    cure: 'Look at the runner job and the log of its supervisor; for an external run, start a runner.',
  },
  'runner-lost': {
    meaning: 'The runner ended without an outcome, or its lease expired and it did not come back.',
    cure: 'Look at the log of the runner; send again.',
  },
  'runner-oom-killed': {
    meaning: 'The runner was killed because it used up its memory.',
    cure: 'Give runners more memory, or ask for a smaller piece of work.',
  },
  'runner-evicted': {
    meaning: 'The cluster evicted the runner from its node.',
    cure: 'Send again; if it persists, look at the pressure on the nodes.',
  },
  'runner-unhealthy': {
    meaning: 'The runner was killed because it did not answer its liveness probe.',
    cure: 'Look at the log of the runner; give runners more CPU if they starve.',
  },
  'node-lost': {
    meaning: 'The node of the runner was lost.',
    cure: 'Send again; look at the node.',
  },
  'image-pull-failed': {
    meaning: 'The image of the runner cannot be pulled.',
    cure: 'Correct the image name, or the credentials of the registry.',
  },
  'invalid-pod': {
    meaning: 'The cluster refuses the pod of the runner as invalid.',
    cure: 'Correct the pod settings that the message names.',
  },
  'prerequisite-failed': {
    meaning:
      'Something that the runner needs is not there: a port is taken, a URL is wrong, a repository or ref was refused.',
    cure: 'Correct the variable, repository or ref that the message names.',
  },
  unschedulable: {
    meaning:
      'The cluster found no place for the runner within its time, or a quota or admission rule refused it.',
    cure: 'Free resources, raise the quota, or ask for less.',
  },
  'agent-error': {
    meaning:
      'The agent process exited, its protocol broke, or it failed for a reason that no other kind names.',
    cure: "Read the run's last events; send again or change the prompt.",
  },
  'first-output-timeout': {
    meaning: 'The agent sent nothing at all within the first-output limit.',
    cure: 'Check that the provider answers; raise `firstOutputTimeoutMs` for a slow model.',
  },
  'idle-timeout': {
    meaning: 'The agent made no progress for the idle limit.',
    cure: 'Raise `idleTimeoutMs` for long silent commands, or send a smaller piece of work.',
  },
  'hard-timeout': {
    meaning: 'The turn used up its hard limit over all its attempts.',
    cure: 'Raise `hardTimeoutMs`, or send a smaller piece of work.',
  },
  'deadline-exceeded': {
    meaning: 'The deadline of the turn, of its task or of its pod has passed.',
    cure: 'Send again with a later deadline.',
  },
  'budget-exceeded': {
    meaning: 'The turn used up its budget of tokens or requests.',
    cure: 'Raise the budget, or send a smaller piece of work.',
  },
  'storage-unavailable': {
    meaning: "The session's storage cannot be reached or mounted.",
    cure: 'Look at the volume and its node; send again once it is there.',
  },
  'session-store-evicted': {
    meaning: "The session's storage was evicted, so that its agent cannot go on.",
    cure: 'Create a new session; events and results of this one stay readable.',
  },
  'poison-turn': {
    meaning: 'The same turn killed its runner on every attempt; the run ends `blocked`.',
    cure: 'Change the prompt or the resources before sending again: the same would kill the next runner.',
  },
  cancelled: {
    meaning: 'Somebody asked for the end of the run.',
    cure: 'Nothing; send again if it was a mistake.',
  },
  'infra-failed': {
    meaning: 'Something unforeseen went wrong inside AgentRun.',
    cure: 'Look for the run id in the log of the worker; send again.',
  },
  'provider-auth': {
    meaning: 'The provider refuses the credential, or there is none.',
    cure: 'Set a valid credential for the profile.',
  },
  'provider-rate-limited': {
    meaning: 'The provider limits the rate of requests.',
    cure: 'Send later, send less at a time, or raise the limit at the provider.',
  },
  'provider-quota': {
    meaning: 'The quota, the credit or the budget at the provider is used up.',
    cure: 'Add credit or wait until the provider resets the quota.',
  },
  'provider-rejected': {
    meaning: 'The provider refuses the request: it is malformed, or against a policy.',
    cure: 'Change the prompt or the settings that the message names.',
  },
  'model-not-found': {
    meaning: 'The provider does not know the model, or the credential may not use it.',
    cure: 'Correct the model name, or ask the provider for access.',
  },
  'provider-unavailable': {
    meaning: 'The provider answers with an error of its own, or cannot be connected to.',
    cure: "Check the base URL and the provider's status; send again later.",
  },
  'provider-overloaded': {
    meaning: 'The provider is overloaded.',
    cure: 'Send again later.',
  },
  'context-window-exceeded': {
    meaning: "The conversation does not fit into the model's context, not even compacted.",
    cure: 'Create a new session, or use a model with a larger context.',
  },
  'provider-disconnected': {
    meaning: "The provider's stream was cut, or it was silent to the end.",
    cure: 'Send again; look at the network between runner and provider.',
  },
};
