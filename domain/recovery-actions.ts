import type { LivenessPhase, RecoveryAction } from '../contract/supervisor.js';
import { bounded, type RunFacts } from './run-facts.js';

type Step = Pick<RecoveryAction, 'action' | 'operation' | 'resourceKind' | 'resourceName' | 'reason'> &
  Partial<RecoveryAction>;

/**
 * What an operator can do now (decisions.md, Liveness phase "recoveryActions"; contract.md 7.6), best first, at most five. The phase chooses the row;
 * of a run that ended, how it ended does.
 *
 * | phase | actions |
 * |---|---|
 * | `queued` | wait, cancel |
 * | `starting` | describe job, wait, cancel |
 * | `claimed` | wait, events, cancel |
 * | `running`, `quiet` | events, steer, cancel |
 * | `finishing` | wait, events |
 * | `waiting`; `parked` for a person | answer (wait once it is given), cancel |
 * | `parked` for a provider's limit | wait, cancel |
 * | `lease-expired` | wait for retry, cancel |
 * | `retrying` | wait for retry, events, cancel |
 * | `terminal`, `failed` or `blocked` | send again (new session when its storage is evicted), events |
 * | `terminal`, `completed` or `cancelled`; `unavailable` | - |
 *
 * Once a cancel is requested, `cancel` and `steer` are left out, and waiting comes first.
 */
export function recoveryActions(facts: RunFacts, phase: LivenessPhase): RecoveryAction[] {
  const steps = stepsOf(facts, phase);
  const cancelling = facts.cancelRequestedAtMs !== null && facts.terminalStatus === null;
  if (!cancelling) return steps.map((step) => filled(facts, step));
  const waiting = wait(facts, 'wait', 'a cancel is requested; the turn ends within seconds');
  const rest = steps.filter((step) => !['wait', 'wait-for-retry', 'cancel', 'steer'].includes(step.action));
  return [waiting, ...rest].map((step) => filled(facts, step));
}

function stepsOf(facts: RunFacts, phase: LivenessPhase): Step[] {
  switch (phase) {
    case 'queued':
      return [wait(facts, 'wait', 'the turn begins when its session is free'), cancel(facts)];
    case 'starting':
      return [
        ...describeJob(facts),
        wait(facts, 'wait', 'the runner has until the claim limit to come up'),
        cancel(facts),
      ];
    case 'claimed':
      return [wait(facts, 'wait', 'the agent is being started'), events(facts), cancel(facts)];
    case 'running':
    case 'quiet':
      return [events(facts), steer(facts), cancel(facts)];
    case 'finishing':
      return [wait(facts, 'wait', 'the end of the turn is being written'), events(facts)];
    case 'waiting':
      return [answer(facts), cancel(facts)];
    case 'parked':
      if (facts.parked?.reason === 'provider-limit') {
        const reason = 'the turn goes on when the limit of the provider is reset';
        return [wait(facts, 'wait', reason), cancel(facts)];
      }
      return [answer(facts), cancel(facts)];
    case 'lease-expired':
      return [
        wait(facts, 'wait-for-retry', 'a runner that is proven lost is replaced by itself'),
        cancel(facts),
      ];
    case 'retrying':
      return [
        wait(facts, 'wait-for-retry', 'the next attempt begins when the former runner is proven gone'),
        events(facts),
        cancel(facts),
      ];
    case 'terminal':
      return facts.terminalStatus === 'failed' || facts.terminalStatus === 'blocked'
        ? [sendAgain(facts), events(facts)]
        : [];
    case 'unavailable':
      return [];
  }
}

function filled(facts: RunFacts, step: Step): RecoveryAction {
  return {
    inputKind: null,
    runId: facts.runId,
    commandId: facts.commandId,
    runnerJobId: null,
    sessionId: facts.sessionId,
    reasonHint: null,
    failureMessage: null,
    reasonRequired: false,
    afterSeq: null,
    limit: null,
    ...step,
    valuesPrinted: false,
  };
}

const onRun = (facts: RunFacts) => ({ resourceKind: 'run', resourceName: facts.runId });
const onSession = (facts: RunFacts) => ({ resourceKind: 'session', resourceName: facts.sessionId });

function wait(facts: RunFacts, action: 'wait' | 'wait-for-retry', reason: string): Step {
  return { action, operation: 'describe', ...onRun(facts), reason };
}

function cancel(facts: RunFacts): Step {
  return {
    action: 'cancel',
    operation: 'cancel',
    ...onRun(facts),
    reason: 'ends the turn; queued messages are kept',
    reasonHint: 'say why, for the record',
  };
}

/** The newest page: where the run stands, not how it began. */
function events(facts: RunFacts): Step {
  const limit = 100;
  return {
    action: 'events',
    operation: 'events',
    ...onRun(facts),
    reason: 'shows what the agent did last',
    afterSeq: Math.max(0, facts.lastSeq - limit),
    limit,
  };
}

function steer(facts: RunFacts): Step {
  return {
    action: 'steer',
    operation: 'send',
    ...onSession(facts),
    inputKind: 'prompt',
    reason: 'a message reaches the agent inside this turn',
  };
}

/** Nothing to answer any more: the answer was given, and the turn is about to go on. */
function answer(facts: RunFacts): Step {
  const request = facts.pendingRequest;
  if (request === null) return wait(facts, 'wait', 'the answer was given; the next attempt takes it');
  return {
    action: 'answer',
    operation: 'send',
    resourceKind: 'agent-request',
    resourceName: request.requestId,
    inputKind: 'answer',
    reason: 'the agent waits for a person',
    reasonHint: bounded(request.summary, 220),
  };
}

function describeJob(facts: RunFacts): Step[] {
  const job = facts.attempt?.job ?? null;
  if (job === null || facts.attempt === null) return [];
  return [
    {
      action: 'describe-job',
      operation: 'describe',
      resourceKind: 'runner-job',
      resourceName: facts.attempt.jobName,
      runnerJobId: job.jobId,
      reason: 'shows why the runner is not up yet',
    },
  ];
}

function sendAgain(facts: RunFacts): Step {
  const failureMessage = facts.failureMessage === null ? null : bounded(facts.failureMessage, 220);
  const evicted = facts.sessionEvicted || facts.failureKind === 'session-store-evicted';
  return evicted
    ? {
        action: 'new-session',
        operation: 'create',
        resourceKind: 'session',
        resourceName: facts.sessionId,
        inputKind: 'session',
        reason: 'the storage of this session is gone; a new session id is needed',
        failureMessage,
      }
    : {
        action: 'send-again',
        operation: 'send',
        ...onSession(facts),
        inputKind: 'prompt',
        reason: 'the session takes a new turn and keeps its thread and workspace',
        failureMessage,
      };
}
