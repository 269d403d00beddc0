import type { Conversation, Entry, UserEntry } from './conversation.js';
import type { ItemPosition } from './item-ids.js';
import { freshSuffix, stableSuffix } from './item-ids.js';
import type { Failure, Scenario, Step } from './scenario.js';
import { stepSchema } from './scenario.js';
import type { Marker, ScenarioLibrary } from './scenario-library.js';
import { markerIn, withoutMarkers } from './scenario-library.js';
import type { TemplateValues } from './template.js';

/** What answers a request. `failure` is set when the step still has to fail. */
export interface Choice {
  readonly scenario: string;
  readonly step: number;
  readonly repetition: number;
  readonly content: Step;
  readonly failure: Failure | null;
  readonly acknowledgement: string;
  readonly values: TemplateValues;
  readonly idSuffix: string;
}

/** A scenario as it is played from one message of a thread on. */
interface Run {
  readonly id: string;
  readonly scenario: Scenario;
  readonly start: number;
}

interface Cursor {
  readonly step: number;
  readonly repetition: number;
}

const maxRepetitions = 10_000;
/** Threads whose counters are kept; the oldest are dropped, so a long-lived server does not grow. */
const maxRemembered = 10_000;

/**
 * Picks the step that answers a request.
 *
 * The position of a thread is not kept here: it is read from the request. Each item of an answer has its position in
 * its id, the client sends back exactly the items that it has completely received, and a step is done when its last
 * item is among them. So the position is right after a retry (same history: same step), after a steer that breaks
 * off a stream (nothing of it in the history: same step again, now with the steer), after a steer during a command, after
 * a kill and `thread/resume`, and after a restart of this server; and threads cannot mix.
 *
 * Two things are not in the history and are kept in memory per thread: how often a step has already failed, and the
 * position at a compaction (which removes the items of the model from the history, not the messages of the user).
 */
export class Player {
  private readonly library: ScenarioLibrary;
  private readonly failures = new Map<string, number>();
  private readonly compactedAt = new Map<string, { readonly run: string; readonly next: Cursor }>();

  constructor(library: ScenarioLibrary) {
    this.library = library;
  }

  /** @throws UnknownScenarioError when the prompt asks for one that does not exist. */
  choose(conversation: Conversation): Choice {
    const { run, next } = this.locate(conversation);
    if (conversation.requestKind === 'compaction') {
      remember(this.compactedAt, conversation.threadKey, { run: run.id, next });
      return compactionSummary(run, conversation, next);
    }
    const content = run.scenario.steps[next.step] ?? closingStep;
    const key = [conversation.threadKey, run.id, next.step, next.repetition].join(' ');
    const values = templateValues(conversation, run.scenario.name, next.step);
    return {
      scenario: run.scenario.name,
      step: next.step,
      repetition: next.repetition,
      content,
      failure: this.dueFailure(key, content.failure),
      acknowledgement: values.steers === '' ? '' : run.scenario.steerAcknowledgement,
      values,
      idSuffix: content.stableIds ? stableSuffix(key) : freshSuffix(),
    };
  }

  /** The scenario of the thread; past its end a new turn gets the default scenario. */
  private locate(conversation: Conversation): { run: Run; next: Cursor } {
    const { entries } = conversation;
    const turnStart = entries.findIndex((entry) => entry.kind === 'user' && entry.ofTurn);
    const marked = lastMarker(entries);
    if (marked && marked.marker.name !== 'default') {
      const scenario = this.library.instantiate(marked.marker);
      const run = { id: `${scenario.name} ${marked.id}`, scenario, start: marked.at };
      const next = this.position(conversation, run);
      const lastItem = entries.findLastIndex((entry) => isItemOf(entry, scenario.name));
      if (next.step < scenario.steps.length || lastItem > turnStart) return { run, next };
    }
    const scenario = this.library.instantiate({ name: 'default', params: {} });
    const start = Math.max(turnStart, 0);
    const run = { id: `default ${conversation.turnId ?? start}`, scenario, start };
    return { run, next: this.position(conversation, run) };
  }

  private position(conversation: Conversation, run: Run): Cursor {
    const since = conversation.entries.slice(run.start);
    const compacted = this.compactedAt.get(conversation.threadKey);
    const done = lastCompleted(since, run.scenario.name);
    if (done === null && compacted?.run === run.id) return compacted.next;
    return nextCursor(run.scenario.steps, done, lastToolOutput(since));
  }

  private dueFailure(key: string, failure: Failure | undefined): Failure | null {
    if (!failure) return null;
    const already = this.failures.get(key) ?? 0;
    if (failure.times !== undefined && already >= failure.times) return null;
    remember(this.failures, key, already + 1);
    return failure;
  }
}

/** The step that follows; `done` is the last one that the client has completely, null before the first. */
export function nextCursor(steps: readonly Step[], done: Cursor | null, toolOutput: string): Cursor {
  const last = done === null ? undefined : steps[done.step];
  if (done !== null && last && done.repetition + 1 < maxRepetitions) {
    const again = last.repeatWhileOutputContains
      ? toolOutput.includes(last.repeatWhileOutputContains)
      : done.repetition + 1 < last.repeat;
    if (again) return { step: done.step, repetition: done.repetition + 1 };
  }
  let step = done === null ? 0 : done.step + 1;
  for (; step < steps.length; step += 1) {
    const condition = steps[step]?.repeatWhileOutputContains;
    if (condition === undefined || toolOutput.includes(condition)) break;
  }
  return { step, repetition: 0 };
}

/** Answers a message that comes after the last step, in the same turn. */
const closingStep = stepSchema.parse({
  text: 'The scenario "{{scenario}}" is at its end. In this turn I received these messages:\n{{turnUserMessages}}',
});

const summaryStep = stepSchema.parse({
  text: 'Summary by the scripted model: scenario "{{scenario}}", {{position}} steps are done.',
});

function compactionSummary(run: Run, conversation: Conversation, next: Cursor): Choice {
  return {
    scenario: `${run.scenario.name}-compaction`,
    ...next,
    content: summaryStep,
    failure: null,
    acknowledgement: '',
    values: templateValues(conversation, run.scenario.name, next.step),
    idSuffix: freshSuffix(),
  };
}

function lastMarker(entries: readonly Entry[]): { at: number; id: string; marker: Marker } | null {
  for (let at = entries.length - 1; at >= 0; at -= 1) {
    const entry = entries[at];
    const marker = entry?.kind === 'user' ? markerIn(entry.text) : null;
    if (entry?.kind === 'user' && marker) return { at, id: entry.id, marker };
  }
  return null;
}

function lastCompleted(entries: readonly Entry[], scenario: string): ItemPosition | null {
  const last = entries.findLast((entry) => isItemOf(entry, scenario) && isLastOfAnswer(entry.position));
  return last?.kind === 'model' ? last.position : null;
}

function isItemOf(entry: Entry, scenario: string): entry is Extract<Entry, { kind: 'model' }> {
  return entry.kind === 'model' && entry.position?.scenario === scenario;
}

function isLastOfAnswer(position: ItemPosition | null): boolean {
  return position !== null && position.item === position.items - 1;
}

function lastToolOutput(entries: readonly Entry[]): string {
  const last = entries.findLast((entry) => entry.kind === 'toolOutput');
  return last?.kind === 'toolOutput' ? last.text : '';
}

function templateValues(conversation: Conversation, scenario: string, position: number): TemplateValues {
  const { entries } = conversation;
  const users = entries.filter((entry) => entry.kind === 'user');
  const ofTurn = users.filter((entry) => entry.ofTurn);
  const unanswered = entries
    .slice(entries.findLastIndex((entry) => entry.kind === 'model') + 1)
    .filter((entry) => entry.kind === 'user');
  const output = lastToolOutput(entries);
  return {
    lastUserMessage: spoken(users.slice(-1)),
    newUserMessages: spoken(unanswered),
    turnUserMessages: ofTurn.map((entry) => `- ${withoutMarkers(entry.text)}`).join('\n'),
    steers: spoken(unanswered.filter((entry) => entry.ofTurn && entry !== ofTurn[0])),
    lastToolOutput: output
      .slice(output.indexOf('Output:\n') < 0 ? 0 : output.indexOf('Output:\n') + 8)
      .trimEnd(),
    lastExitCode: /(?:exited with code|Exit code:) (-?\d+)/.exec(output)?.[1] ?? 'unknown',
    shellSessionId: /Process running with session ID (\d+)/.exec(output)?.[1] ?? '0',
    position: String(position),
    scenario,
  };
}

function spoken(messages: readonly UserEntry[]): string {
  return messages.map((entry) => withoutMarkers(entry.text)).join('\n');
}

function remember<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
  const oldest = map.keys().next();
  if (map.size > maxRemembered && !oldest.done) map.delete(oldest.value);
}
