import type { AgentRequest, AgentRequestResolution } from '../../../contract/agent-requests.js';

/**
 * What the agent is told besides the bare answer, null when the answer says all: Codex knows only `decline`, which it reads as a person's no.
 * `waitedMs`: how long the request was open; less than a second when the answer was there before the agent asked (again), which says nothing about
 * the time that people had. `unshowable`: why nobody could be asked about this very request. Pure.
 */
export function requestNote(
  { kind, summary }: Pick<AgentRequest, 'kind' | 'summary'>,
  resolution: AgentRequestResolution,
  waitedMs: number,
  unshowable: string | null = null,
): string | null {
  const what = `your request "${summary.slice(0, 500)}"`;
  // The answer to a question is in the answer itself.
  if (resolution.resolution === 'answered' && (kind === 'question' || kind === 'elicitation')) return null;
  switch (resolution.resolution) {
    case 'timed-out':
      return `Nobody answered ${what} ${waitedMs < 1_000 ? 'in time' : `within ${duration(waitedMs)}`} (timeout). It was not denied: nobody has decided about it. Go on without it, and say at the end what is left open.`;
    case 'no-channel':
      return `${unshowable === null ? 'Nobody can be asked in this run (no channel)' : `Nobody could be asked: ${unshowable}`}, so ${what} was not granted. No person denied it. Go on without it, and say at the end what is left open.`;
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
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
