import type { AgentRequest, AgentRequestResolution } from '../../../contract/agent-requests.js';

/**
 * What the agent is told besides the bare answer, null when the answer says all: Codex knows only `decline`, which it reads as a person's no.
 * `waitedMs`: how long the request was open. Pure.
 */
export function requestNote(
  { kind, summary }: Pick<AgentRequest, 'kind' | 'summary'>,
  resolution: AgentRequestResolution,
  waitedMs: number,
): string | null {
  const what = `your request "${summary.slice(0, 500)}"`;
  // The answer to a question is in the answer itself.
  if (resolution.resolution === 'answered' && (kind === 'question' || kind === 'elicitation')) return null;
  switch (resolution.resolution) {
    case 'timed-out':
      return `Nobody answered ${what} within ${duration(waitedMs)} (timeout). It was not denied: nobody has decided about it. Go on without it, and say at the end what is left open.`;
    case 'no-channel':
      return `Nobody can be asked in this run (no channel), so ${what} was not granted. No person denied it. Go on without it, and say at the end what is left open.`;
    case 'denied':
    case 'answered':
      return resolution.text === null || resolution.text.trim() === ''
        ? null
        : `A person denied ${what} and said: ${resolution.text}`;
    case 'approved':
    case 'withdrawn':
    case 'superseded':
      return null;
  }
}

function duration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
