import { type Context, context, propagation, ROOT_CONTEXT } from '@opentelemetry/api';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  ParentClosePolicy,
  patched,
  setCurrentDetails,
  setHandler,
  startChild,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import type { FirstAttempt, SendDecision } from '../domain/send-plan.js';
import { turnWorkflowId } from '../domain/workflow-ids.js';
import { createRecords } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import {
  launchUpdate,
  type SessionInput,
  sendUpdate,
  stateKey,
  steerSignal,
  type TurnInput,
  turnAttributes,
  turnEndedSignal,
  wakeSignal,
} from './messages.js';
import { turnWorkflow } from './turn.js';

type ActiveTurn = NonNullable<Awaited<ReturnType<RecordActivities['nextTurn']>>> & {
  readonly first?: FirstAttempt | null;
  /** Of the message that began it; a turn that was looked up names it by `traceparent`. */
  readonly trace?: Context;
};

const defaultIdleMs = 600_000;
const defaultMaxUpdates = 1_000;

/**
 * One per session with something going on (architecture.md 4.1). Decides about the session's messages one after another; at most one turn is
 * active. Holds no truth of its own: every look re-reads Postgres, so a lost wake-up heals and continue-as-new carries nothing.
 */
export async function sessionWorkflow(input: SessionInput): Promise<void> {
  const idleMs = input.idleMs ?? defaultIdleMs;
  const maxUpdates = input.maxUpdates ?? defaultMaxUpdates;
  const records = createRecords();
  const turns: ActiveTurn[] = [];
  let lookedUp: string | null = null;
  const told: Told[] = [];
  let updates = 0;
  let mustLook = true;

  setHandler(sendUpdate, async ({ commandId }) => {
    updates += 1;
    // The record steps queue up behind each other; the answer waits for none of a turn's.
    const decided = await records.acceptMessage({ commandId });
    noteDecision(decided);
    return decided;
  });
  setHandler(launchUpdate, async ({ runId }) => {
    updates += 1;
    const decided = await records.adoptLauncher({ runId });
    // Its turn finds the launcher by itself; a turn without a workflow is found by the look.
    mustLook = true;
    return decided;
  });
  setHandler(turnEndedSignal, () => {
    mustLook = true;
  });

  function noteDecision(decided: SendDecision): void {
    const { decision } = decided;
    if (decision === 'refused') return;
    const { runId, commandId } = decided;
    if (decision === 'steer') told.push({ signal: 'steer', runId, commandId });
    if (decision === 'answer') told.push({ signal: 'wake', runId, commandId });
    if (decision !== 'turn') return;
    if (decided.interrupts !== undefined)
      told.push({ signal: 'wake', runId: decided.interrupts, commandId, cancel: true });
    // A decided turn needs no look; one that waits is found by the look after the end of the turn before it, and by this one.
    if (decided.queued) mustLook = true;
    else turns.push({ runId, launcher: decided.launcher, first: decided.first, trace: context.active() });
  }

  async function wakeTurns(): Promise<void> {
    do {
      for (let one = told.shift(); one !== undefined; one = told.shift()) {
        if (one.signal === 'wake') await tellTurn(one);
      }
      await condition(allHandlersFinished);
      // Decided while a turn was told or a handler waited for. Former histories left it untold.
    } while (told.length > 0 && patched('all-turns-told-before-continue-as-new'));
  }

  const isFull = () => workflowInfo().continueAsNewSuggested || updates >= maxUpdates;

  for (;;) {
    if (mustLook) {
      mustLook = false;
      lookedUp = await startActiveTurn(input, records);
    }
    for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) {
      if (turn.runId !== lookedUp) await startTurn(input, turn);
    }
    for (let one = told.shift(); one !== undefined; one = told.shift()) await tellTurn(one);
    const woken = await condition(() => mustLook || turns.length + told.length > 0 || isFull(), idleMs);
    if (woken && !isFull()) continue;
    await condition(allHandlersFinished);
    if (isFull()) {
      // What is to be started is found again by the first look; a wake-up is not.
      await wakeTurns();
      await continueAsNew<typeof sessionWorkflow>(input);
    }
    if (mustLook || turns.length + told.length > 0) continue;
    const active = await startActiveTurn(input, records);
    if (active === null && !mustLook && turns.length + told.length === 0 && allHandlersFinished()) return;
  }
}

/**
 * Starts the workflow of the turn that is to run, unless it runs: also one that was ended from outside without ending its run. Answers the run.
 */
async function startActiveTurn(input: SessionInput, records: RecordActivities): Promise<string | null> {
  const turn = await nextTurn(input, records);
  if (turn === null) {
    showState('idle', 'idle');
    return null;
  }
  await startTurn(input, turn);
  return turn.runId;
}

/** A look that Postgres refuses for good must not end the session's workflow: its other messages wait behind it. */
async function nextTurn(input: SessionInput, records: RecordActivities): Promise<ActiveTurn | null> {
  try {
    return await records.nextTurn({ sessionId: input.sessionId });
  } catch (error) {
    if (isCancellation(error)) throw error;
    log.error('the next turn of the session cannot be had', { error: describeFailure(error) });
    return null;
  }
}

function showState(state: 'active' | 'idle', details: string): void {
  setCurrentDetails(details);
  if (workflowInfo().typedSearchAttributes.get(stateKey) !== state)
    upsertSearchAttributes([{ key: stateKey, value: state }]);
}

async function startTurn(input: SessionInput, turn: ActiveTurn): Promise<void> {
  showState('active', `turn of ${turn.runId} is active`);
  try {
    await context.with(traceOf(turn), () =>
      startChild(turnWorkflow, {
        workflowId: turnWorkflowId(turn.runId),
        args: [turnInput(input, turn)],
        // Never awaited and never ended with its parent: the session continues as new while the turn runs.
        parentClosePolicy: ParentClosePolicy.ABANDON,
        typedSearchAttributes: turnAttributes(input, turn.runId, 'starting'),
        staticSummary: `turn of session ${input.sessionId}`,
      }),
    );
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

/** A turn belongs to the trace of its own message, not to that of the one that once started the session's workflow (docs/adr/0018). */
function traceOf({ trace, traceparent }: ActiveTurn): Context {
  if (trace !== undefined) return trace;
  return traceparent == null ? context.active() : propagation.extract(ROOT_CONTEXT, { traceparent });
}

function turnInput({ sessionId, tenantId, projectId }: SessionInput, turn: ActiveTurn): TurnInput {
  const owner = { sessionId, tenantId, projectId, runId: turn.runId, launcher: turn.launcher };
  return turn.first == null ? owner : { ...owner, first: turn.first };
}

/** What a turn is told beside Postgres: a steer shows in its history, a wake-up makes it look. */
interface Told {
  readonly signal: 'steer' | 'wake';
  readonly runId: string;
  readonly commandId: string;
  readonly cancel?: true;
}

/** What it is about is stored already, so a turn that has just ended loses nothing. */
async function tellTurn({ signal, runId, ...what }: Told): Promise<void> {
  const { commandId } = what;
  const turn = getExternalWorkflowHandle(turnWorkflowId(runId));
  try {
    await (signal === 'steer' ? turn.signal(steerSignal, { commandId }) : turn.signal(wakeSignal, what));
  } catch (error) {
    log.info('the turn was over before it was told', { signal, runId, commandId, error: String(error) });
  }
}
