import {
  type AgentRequestRecord,
  type AnswerPayload,
  answerPayloadSchema,
} from '../contract/agent-requests.js';
import { payloadText } from '../contract/commands.js';
import type { SendBody } from '../contract/sessions.js';
import { findAgentRequest, unknownRequest } from '../store/agent-requests.js';
import type { Queryable } from '../store/pool.js';
import { schemaInvalid } from './validation.js';

/** An answer, and the request that it is for as it stood when it came. */
export interface NamedAnswer {
  readonly request: AgentRequestRecord;
  readonly answer: AnswerPayload;
}

/**
 * The answer that a send body gives to the request that it names; null when it names none. Only what can never change is checked here: whether the
 * request still waits is decided under its lock.
 *
 * @param tenantId whom the session must belong to.
 * @throws AgentRunError `not-found`; `schema-invalid` for a decision that does not fit the kind of request.
 */
export async function namedAnswer(
  db: Queryable,
  { sessionId, body }: { readonly sessionId: string; readonly body: SendBody },
  tenantId: string,
): Promise<NamedAnswer | null> {
  if (body.answers === undefined) return null;
  const request = await findAgentRequest(db, sessionId, body.answers, tenantId);
  if (request === undefined) throw unknownRequest(body.answers);
  return { request, answer: answerPayloadSchema.parse(answerFor(request, body)) };
}

function answerFor(request: AgentRequestRecord, body: SendBody): AnswerPayload {
  const text = textOf(body);
  const { requestId } = request;
  const answers = body.questionAnswers ?? null;
  switch (request.kind) {
    case 'command':
    case 'file-change':
    case 'permissions': {
      const { decision } = body;
      if (decision === undefined || decision === 'answer') {
        throw wrong('decision', 'expected approve, approve-for-session or deny', decision);
      }
      if (answers !== null)
        throw wrong('questionAnswers', `no such field: the request is a ${request.kind}`, answers);
      if (text !== null && decision !== 'deny') {
        throw wrong('prompt', 'expected none: only a denial has words; send others as a message', text);
      }
      return { requestId, decision, text, answers: null };
    }
    case 'elicitation':
      if (body.decision === 'deny') return { requestId, decision: 'deny', text, answers: null };
      // One that only sends a person somewhere has no form: it is accepted or not.
      if (body.decision === 'approve' && request.questions.length === 0 && text === null && answers === null)
        return { requestId, decision: 'approve', text: null, answers: null };
      return questionAnswer(request, body, text);
    case 'question':
      return questionAnswer(request, body, text);
  }
}

function questionAnswer(request: AgentRequestRecord, body: SendBody, text: string | null): AnswerPayload {
  const { requestId, questions, kind } = request;
  if (body.decision !== undefined && body.decision !== 'answer') {
    throw wrong('decision', `no such field: the request is a ${kind}; the prompt answers it`, body.decision);
  }
  const answers = body.questionAnswers;
  if (answers === undefined) {
    if (text === null)
      throw wrong('prompt', 'expected the answer, as a prompt or in questionAnswers', undefined);
    if (questions.length > 1) {
      const ids = questions.map(({ id }) => id).join(', ');
      throw wrong('questionAnswers', `expected an answer for each of the questions ${ids}`, undefined);
    }
    return { requestId, decision: 'answer', text, answers: null };
  }
  // A form may have fields that are left empty.
  for (const { id } of kind === 'question' ? questions : []) {
    if (!Object.hasOwn(answers, id))
      throw wrong(`questionAnswers.${id}`, 'expected a list of answers', undefined);
  }
  for (const id of Object.keys(answers)) {
    if (questions.length > 0 && !questions.some((question) => question.id === id))
      throw wrong(`questionAnswers.${id}`, 'no such question', []);
  }
  return { requestId, decision: 'answer', text, answers };
}

function textOf(body: SendBody): string | null {
  const candidates = [
    body.payload === undefined ? '' : payloadText(body.payload),
    body.prompt,
    body.message,
    body.text,
  ];
  return candidates.map((candidate) => candidate?.trim() ?? '').find((candidate) => candidate !== '') ?? null;
}

function wrong(path: string, sentence: string, received: unknown) {
  const kind = Array.isArray(received) ? 'array' : typeof received;
  return schemaInvalid([{ path, sentence, received: received === undefined ? 'nothing' : kind }]);
}
