import type { AgentQuestion, AgentRequestResolution } from '../../../contract/agent-requests.js';
import { elicitationRequest } from './codex-elicitation.js';
import {
  commandApprovalSchema,
  elicitationSchema,
  fileChangeApprovalSchema,
  permissionsApprovalSchema,
  userInputSchema,
} from './codex-request-protocol.js';
import { legacyRequest } from './legacy-requests.js';
import {
  type AnnouncedChange,
  changeTitle,
  type ShownRequest,
  shortened,
  shownRequest,
} from './shown-request.js';

/** What Codex asks, in the words of the contract, and how an answer is said to Codex. */
export interface AskedRequest extends ShownRequest {
  /** The result of the JSON-RPC request for a resolution. */
  readonly result: (resolution: AgentRequestResolution) => unknown;
  /** Codex' own words for "timed out" and for the reason of a denial are part of the result: no note is needed. */
  readonly resultTellsWhy: boolean;
}

/** What the item of a patch said that it changes; nothing when it was not announced. */
export type ChangesOf = (threadId: string, itemId: string) => readonly AnnouncedChange[];

/**
 * Reads a request of Codex (agents.md 2.1, Server requests); null for one that nobody can be asked about, which must get an error.
 *
 * | method | kind | approved / for the session | anything else |
 * |---|---|---|---|
 * | item/commandExecution/requestApproval | command | accept / acceptForSession | decline |
 * | item/fileChange/requestApproval | file-change | accept / acceptForSession | decline |
 * | item/permissions/requestApproval | permissions | what was asked, scope turn / session | nothing granted |
 * | item/tool/requestUserInput | question | answers | no answers |
 * | mcpServer/elicitation/request | elicitation | accept with the answers as content | decline; cancel when nobody decided |
 * | execCommandApproval, applyPatchApproval | command, file-change | approved / approved_for_session | denied; timed_out |
 */
export function askedRequest(method: string, params: unknown, changesOf: ChangesOf): AskedRequest | null {
  switch (method) {
    case 'item/commandExecution/requestApproval':
      return commandRequest(params);
    case 'item/fileChange/requestApproval':
      return fileChangeRequest(params, changesOf);
    case 'item/permissions/requestApproval':
      return permissionsRequest(params);
    case 'item/tool/requestUserInput':
      return userInputRequest(params);
    case 'mcpServer/elicitation/request': {
      const elicitation = elicitationSchema.safeParse(params).data;
      if (elicitation === undefined) return null;
      const { message, serverName, url, questions, result } = elicitationRequest(elicitation);
      return {
        ...shownRequest({
          kind: 'elicitation',
          itemId: null,
          summary: `${serverName}: ${shortened(message, 1_000)}`,
          reason: message,
          questions,
          facts: url === null ? [] : [`address: ${url}`],
          subject: { serverName, message, url, questions },
        }),
        result,
        resultTellsWhy: false,
      };
    }
    case 'execCommandApproval':
    case 'applyPatchApproval':
      return legacyRequest(method, params);
    default:
      return null;
  }
}

function commandRequest(params: unknown): AskedRequest | null {
  const asked = commandApprovalSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const command = asked.command ?? null;
  const network = asked.networkApprovalContext ?? null;
  const permissions = asked.additionalPermissions ?? null;
  const environment = asked.environmentId ?? null;
  const typed = asked.kind === 'writeStdin';
  const facts = [
    ...(network === null ? [] : [`network access: ${JSON.stringify(network)}`]),
    ...(permissions === null ? [] : [`more permissions: ${JSON.stringify(permissions)}`]),
    ...elsewhere(environment),
  ];
  // Codex does not say into which terminal, nor what runs there.
  const known = !typed && (command !== null || network !== null);
  return {
    ...shownRequest({
      kind: 'command',
      itemId: asked.itemId,
      summary: typed
        ? `type into a running terminal: ${command ?? ''}`
        : (command ?? 'something without a command'),
      command,
      cwd: asked.cwd ?? null,
      reason: asked.reason ?? null,
      facts,
      subject: known ? { kind: asked.kind ?? 'command', network, permissions, environment } : null,
    }),
    result: decision,
    resultTellsWhy: false,
  };
}

function fileChangeRequest(params: unknown, changesOf: ChangesOf): AskedRequest | null {
  const asked = fileChangeApprovalSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const changes = changesOf(asked.threadId, asked.itemId);
  const files = changes.map(changeTitle).join(', ');
  const root = asked.grantRoot ?? null;
  const known = changes.length > 0 && changes.every(({ diff }) => diff !== null);
  return {
    ...shownRequest({
      kind: 'file-change',
      itemId: asked.itemId,
      summary: `change files: ${files || 'unknown (the agent did not say which)'}`,
      reason: asked.reason ?? null,
      facts: root === null ? [] : [`writes below ${root} for the rest of the session`],
      changes,
      // With the texts: an answer to one patch is none to another of the same file.
      subject: known
        ? { root, changes: changes.map(({ path, kind, movedTo, diff }) => ({ path, kind, movedTo, diff })) }
        : null,
    }),
    result: decision,
    resultTellsWhy: false,
  };
}

function permissionsRequest(params: unknown): AskedRequest | null {
  const asked = permissionsApprovalSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const environment = asked.environmentId ?? null;
  const wanted = Object.fromEntries(Object.entries(asked.permissions).filter(([, value]) => value !== null));
  return {
    ...shownRequest({
      kind: 'permissions',
      itemId: asked.itemId,
      summary: 'more permissions',
      cwd: asked.cwd ?? null,
      reason: asked.reason ?? null,
      facts: [`permissions: ${JSON.stringify(wanted)}`, ...elsewhere(environment)],
      subject: { wanted, environment },
    }),
    result: (resolution) =>
      resolution.resolution === 'approved'
        ? { permissions: wanted, scope: resolution.forSession ? 'session' : 'turn' }
        : { permissions: {}, scope: 'turn' },
    resultTellsWhy: false,
  };
}

function userInputRequest(params: unknown): AskedRequest | null {
  const asked = userInputSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const questions = asked.questions.map(
    (question): AgentQuestion => ({
      id: question.id,
      header: shortened(question.header, 500),
      question: shortened(question.question, 4_000),
      options:
        question.options?.map((option) => ({
          label: option.label.slice(0, 500),
          description: shortened(option.description, 2_000),
        })) ?? null,
      secret: question.isSecret,
    }),
  );
  return {
    ...shownRequest({
      kind: 'question',
      itemId: asked.itemId,
      summary: questions.map((question) => question.question).join(' / '),
      questions,
      subject: { questions: asked.questions.map(({ id, question }) => ({ id, question })) },
    }),
    result: (resolution) => {
      const given = Object.entries(answersTo(questions, resolution));
      return { answers: Object.fromEntries(given.map(([id, answers]) => [id, { answers }])) };
    },
    resultTellsWhy: false,
  };
}

/** Codex' word for the runner itself is `local`. */
function elsewhere(environment: string | null): string[] {
  return environment === null || environment === 'local' ? [] : [`in the environment ${environment}`];
}

function decision(resolution: AgentRequestResolution): unknown {
  if (resolution.resolution !== 'approved') return { decision: 'decline' };
  return { decision: resolution.forSession ? 'acceptForSession' : 'accept' };
}

/**
 * The answers of a resolution by question: those given by id, and the text for every question that has none of its own. Nothing for a
 * resolution that is no answer.
 */
function answersTo(
  questions: readonly AgentQuestion[],
  resolution: AgentRequestResolution,
): Record<string, string[]> {
  if (resolution.resolution !== 'answered') return {};
  const { text, answers } = resolution;
  const given: Record<string, string[]> = {};
  for (const { id } of questions) {
    const own = answers?.[id];
    if (own !== undefined) given[id] = own;
    else if (text !== null) given[id] = [text];
  }
  return given;
}
