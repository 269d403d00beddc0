import type { AgentRequestResolution } from '../../contract/agent-requests.js';
import type { Grant, Resume } from '../../contract/runners.js';

const maxReasonLength = 500;
const maxSummaryLength = 300;
const maxAnswerLength = 8_000;
const maxGrants = 20;

/** The note to the agent. `logged` is its form for the event log, where what a person answered is not shown: it may be a secret. */
export interface ResumeNote {
  readonly text: string;
  readonly logged: string;
}

/**
 * What an agent is told when a later attempt goes on with its turn (requirements: which attempt, why the former one ended, what survived, what to
 * check, what a person answered meanwhile). It repeats nothing of the prompt or the steers: they stand once in the model's input. Pure.
 */
export function resumeNote(facts: {
  readonly epoch: number;
  readonly maxAttempts: number;
  readonly resume: Resume | null;
  readonly grants: readonly Grant[];
}): ResumeNote {
  const { epoch, maxAttempts, resume, grants } = facts;
  const attempt = resume?.attempt ?? epoch;
  const lines = [
    `[AgentRun] This is attempt ${attempt} of at most ${Math.max(attempt, resume?.maxAttempts ?? maxAttempts)} of the turn above. ${formerEnd(attempt - 1, resume)}`,
    'This conversation and the files in the workspace are as they were left then. Commands that were running, also in the background, have ended.',
    'Before you repeat anything that has an effect (a commit, a push, a message, a deployment, a change of data), check the present state: it may have been done already. Then go on with the task from where it stands.',
  ];
  const shown = grants.slice(0, maxGrants);
  if (shown.length === 0) return { text: lines.join('\n\n'), logged: lines.join('\n\n') };
  const withGrants = (tell: (resolution: AgentRequestResolution) => string): string => {
    const answers = shown.map(
      (grant) => `- ${oneLine(grant.summary, maxSummaryLength)}: ${tell(grant.resolution)}`,
    );
    const list = [
      'What you had asked meanwhile got these answers. If you still need one that was approved, ask for exactly the same again: it is granted at once.',
      ...answers,
    ].join('\n');
    return [...lines, list].join('\n\n');
  };
  return { text: withGrants(answerOf), logged: withGrants(resolutionOf) };
}

function formerEnd(former: number, resume: Resume | null): string {
  const when = resume?.formerEndedAt == null ? '' : ` at ${resume.formerEndedAt}`;
  if (resume?.parked === 'person')
    return `Attempt ${former} was ended${when} because it had waited long for a person.`;
  if (resume?.parked === 'provider-limit')
    return `Attempt ${former} was ended${when} by a limit of the model provider, and the turn waited until it was over.`;
  const kind = resume?.formerFailureKind ?? 'it was lost';
  const reason = resume?.formerReason == null ? '' : `: ${oneLine(resume.formerReason, maxReasonLength)}`;
  return `Attempt ${former} ended${when} without finishing (${kind}${reason}).`;
}

function answerOf(resolution: AgentRequestResolution): string {
  let words: string | null = null;
  if (resolution.resolution === 'denied') words = resolution.text;
  if (resolution.resolution === 'answered')
    words = resolution.text ?? JSON.stringify(resolution.answers ?? {});
  const said = resolutionOf(resolution);
  return words === null ? said : `${said}: ${words.slice(0, maxAnswerLength)}`;
}

function resolutionOf(resolution: AgentRequestResolution): string {
  switch (resolution.resolution) {
    case 'approved':
      return resolution.forSession ? 'approved, also for the rest of this session' : 'approved';
    case 'denied':
      return 'denied';
    case 'answered':
      return 'answered';
    case 'timed-out':
      return 'nobody answered in time (timeout). It was not denied';
    case 'no-channel':
      return 'nobody can be asked';
    case 'withdrawn':
    case 'superseded':
      return 'not answered';
  }
}

function oneLine(text: string, maxLength: number): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, maxLength);
}
