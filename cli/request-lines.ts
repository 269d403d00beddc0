import { styleText } from 'node:util';
import type { AgentRequest, AgentRequestRecord } from '../contract/agent-requests.js';
import { approvalRequestedPayloadSchema, approvalResolvedPayloadSchema } from '../contract/events.js';
import type { AgentRequestState } from '../contract/states.js';
import { escapeText, oneLine } from './terminal-text.js';

const kinds: Record<AgentRequest['kind'], string> = {
  command: 'may it run this?',
  'file-change': 'may it change these files?',
  permissions: 'may it have these permissions?',
  question: 'it has a question',
  elicitation: 'a tool has a question',
};

/** What each end of a request means, in words that keep them apart. */
const ends: Record<
  Exclude<AgentRequestState, 'pending'>,
  { text: string; colour: 'green' | 'red' | 'gray' }
> = {
  approved: { text: 'approved', colour: 'green' },
  denied: { text: 'denied', colour: 'red' },
  answered: { text: 'answered', colour: 'green' },
  'timed-out': { text: 'timed out: nobody answered (it was not denied)', colour: 'red' },
  'no-channel': { text: 'could not be asked: nobody is there to answer', colour: 'red' },
  superseded: { text: 'superseded: its runner was lost, the next attempt asks anew', colour: 'gray' },
  withdrawn: { text: 'withdrawn: the turn ended first', colour: 'gray' },
};

/**
 * What the agent asks, and how it is answered. Without a session the last line is left out. All of it is shown, because a person approves what stands here,
 * and escaped, because what does not may be written by anybody.
 */
function askedLines(request: AgentRequest, sessionId: string | undefined): string[] {
  const details = [
    request.command === null ? [] : [`$ ${request.command}`],
    request.cwd === null ? [] : [`in ${request.cwd}`],
    request.reason === null ? [] : [`because ${request.reason}`],
    request.details === null || request.details === undefined ? [] : [request.details],
    ...request.questions.map(({ id, header, question, options }) => [
      `${request.questions.length > 1 ? `[${id}] ` : ''}${header === '' ? '' : `${header}: `}${question}`,
      ...(options ?? []).map(
        ({ label, description }) => `  - ${label}${description === '' ? '' : `: ${description}`}`,
      ),
    ]),
  ].flat();
  return [
    styleText('yellow', `? the agent waits: ${kinds[request.kind]} ${oneLine(request.summary)}`),
    ...details.flatMap((detail) => escapeText(detail).split('\n')).map((line) => `    ${line}`),
    ...(sessionId === undefined
      ? []
      : [
          styleText(
            'yellow',
            `    agentrun answer ${sessionId} ${request.requestId} ${oneLine(choices(request))}`,
          ),
        ]),
  ];
}

function choices(request: AgentRequest): string {
  const { kind, questions } = request;
  if (kind !== 'question' && kind !== 'elicitation') return 'approve | approve-for-session | deny [why]';
  if (kind === 'elicitation' && questions.length === 0) return 'approve | deny';
  const open = questions.filter(({ secret }) => !secret);
  const hidden = open.length < questions.length ? '(asked for without echo, or a line on stdin each)' : '';
  const words = questions.length < 2 ? open.map(() => '<text>') : open.map(({ id }) => `--to ${id}=<text>`);
  const text = questions.length === 0 ? '<text>' : [...words, hidden].join(' ').trim();
  return kind === 'elicitation' ? `${text} | deny` : text;
}

/** One request of a list: its state, and while it waits how it is answered. */
export function requestLines(request: AgentRequestRecord): string[] {
  if (request.state === 'pending') {
    const limit = request.expiresAt === null ? '' : `, until ${request.expiresAt}`;
    return [
      `${request.requestId} pending since ${request.askedAt}${limit}`,
      ...askedLines(request, request.sessionId),
    ];
  }
  const told =
    request.deliveredAt === null && ['approved', 'denied', 'answered'].includes(request.state)
      ? ' (the agent has not been told yet)'
      : '';
  const { text, colour } = ends[request.state];
  return [`${request.requestId} ${styleText(colour, text)}${told}: ${oneLine(request.summary)}`];
}

/** The event that the agent asks something. */
export function requestedEventLines(payload: unknown, sessionId: string | undefined): string[] {
  const request = approvalRequestedPayloadSchema.safeParse(payload).data;
  return request === undefined ? [] : askedLines(request, sessionId);
}

/** The event that a request has ended. */
export function resolvedEventLines(payload: unknown): string[] {
  const resolved = approvalResolvedPayloadSchema.safeParse(payload).data;
  if (resolved === undefined) return [];
  const { text, colour } = ends[resolved.resolution];
  const reason = resolved.reason === null || resolved.reason === '' ? '' : ` (${oneLine(resolved.reason)})`;
  return [styleText(colour, `  request ${text}${reason}`)];
}
